//! `attach` of ch05-attach, while the container is removed.

use blackbox::{Lab, Side, until};

const BIN: &str = "ch05-attach";

#[test]
fn whenever_one_is_removed_who_attaches_is_told_so_in_words() {
    let lab = Lab::new();
    let name = lab.state().join("names/one");
    for number in (30..).step_by(3) {
        let mut run = lab.chapter(BIN);
        run.args(["run", "-d", "--rm", "--name", "one", "busybox", "sleep", "99"]);
        run.assert().success();
        let mut attach = lab.overheard(BIN, &["attach", "--no-stdin", "one"]);
        assert!(attach.to(Side::Host, number));
        lab.chapter(BIN).args(["rm", "-f", "one"]).assert().success();
        until(|| name.symlink_metadata().is_err());
        let code = attach.end_beside_others();
        let said = lab.said();
        let gone = [
            "container \"one\" not found",
            "container one has no record",
            "container one is not running: it was removed",
        ];
        let told = gone.iter().any(|text| said.contains(text));
        assert!(
            if code == 125 { told } else { said.is_empty() },
            "{number}: {said}"
        );
        // It has got there, and whatever it does from here on it sees the end.
        if code == 137 {
            break;
        }
    }
}
