//! `attach` of ch05-attach, while the container is removed.

use blackbox::{Lab, Side, until};

const BIN: &str = "ch05-attach";

#[test]
fn attach_reports_a_removal_at_any_system_call() {
    let lab = Lab::new();
    let name = lab.state().join("names/one");
    for number in (30..).step_by(3) {
        let mut run = lab.chapter(BIN);
        run.args(["run", "-d", "--rm", "--name", "one", "busybox", "sleep", "99"]);
        run.assert().success();
        let mut attach =
            lab.traced_with_stderr(BIN, &["attach", "--no-stdin", "one"]);
        assert!(attach.to(Side::Host, number));
        lab.chapter(BIN).args(["rm", "-f", "one"]).assert().success();
        until(|| name.symlink_metadata().is_err());
        let code = attach.end_beside_others();
        let said = lab.traced_stderr();
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
        // It is attached. From now on, it sees the end of the program at any call.
        if code == 137 {
            break;
        }
    }
}
