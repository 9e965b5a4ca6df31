//! `ps` of ch05-ps, while a container is created and removed.

use blackbox::{Lab, Side, all, only};

const BIN: &str = "ch05-ps";

#[test]
fn ps_is_correct_at_any_system_call_of_run_and_rm() {
    let lab = Lab::new();
    // A run, the end of its program, and its removal, stopped before every third call.
    for words in
        [&["run", "--rm", "busybox", "true"][..], &["run", "busybox", "true"]]
    {
        let mut seen: Vec<String> = Vec::new();
        let mut run = lab.traced(BIN, |command| command.args(words));
        for number in 0_u32.. {
            let Some(_) = run.step() else { break };
            if number % 3 > 0 {
                continue;
            }
            for one in all(lab.chapter(BIN)) {
                let status = one["status"].as_str().unwrap().to_owned();
                if seen.last() != Some(&status) {
                    seen.push(status);
                }
            }
        }
        assert_eq!(run.end(), 0);
        // The states come in this order. A state may be missing if it is too short.
        let order = ["starting", "running", "ending", "exited"];
        let mut places = seen.iter().map(|it| order.iter().position(|o| o == it));
        assert!(places.all(|place| place.is_some()), "{words:?}: {seen:?}");
        let mut sorted = seen.clone();
        sorted.sort_by_key(|it| order.iter().position(|o| o == it));
        sorted.dedup();
        assert_eq!(seen, sorted, "{words:?}");
        assert!(seen.len() >= 3 && seen[0] == "starting", "{words:?}: {seen:?}");
    }
    let (id, _) = only(lab.chapter(BIN));
    let mut seen: Vec<String> = Vec::new();
    let mut rm = lab.traced(BIN, |command| command.args(["rm", &id]));
    while rm.to(Side::Host, 0) {
        let all = all(lab.chapter(BIN));
        let status =
            all.first().map_or("gone", |one| one["status"].as_str().unwrap());
        if seen.last().map(String::as_str) != Some(status) {
            seen.push(status.to_owned());
        }
    }
    assert_eq!(rm.end(), 0);
    assert_eq!(seen, ["exited", "gone"]);
}
