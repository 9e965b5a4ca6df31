//! `wait` of ch05-stop, while the container is removed.

use blackbox::{Lab, Side};

use super::ok;

const BIN: &str = "ch05-stop";

#[test]
fn wait_reports_the_truth_if_a_removal_happens_at_any_system_call() {
    let lab = Lab::new();
    let words = ["run", "--name", "web", "busybox", "sh", "-c", "exit 3"];
    for number in (0..).step_by(2) {
        lab.chapter(BIN).args(words).assert().code(3);
        let mut wait = lab.traced_with_stderr(BIN, &["wait", "web"]);
        let reached = wait.to(Side::Host, number);
        ok(&lab, BIN, &["rm", "web"]);
        if !reached {
            break;
        }
        let code = wait.end_beside_others();
        let said = lab.traced_stderr();
        let gone = [
            "container \"web\" not found",
            "container web has no record: it is being created or removed",
            "the exit status of container web is unknown: it was removed in the meantime",
        ];
        let told = gone.iter().any(|text| said.contains(text));
        assert!(if code == 0 { said.is_empty() } else { told }, "{number}: {said}");
    }
}
