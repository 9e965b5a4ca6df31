//! `exec` of ch05-exec, killed, and while its container ends.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use blackbox::{Caller, Lab, One, Side, is_alone, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BIN: &str = "ch05-exec";

/// Kill the program of the container before the `number`th call of `exec`, call `then`, and
/// let `exec` continue. Returns the exit status of `exec` and its error; `None` if it makes
/// fewer calls.
fn beside_a_kill(
    lab: &Lab,
    flags: &[&str],
    number: usize,
    then: impl FnOnce(),
) -> Option<(i32, String)> {
    let mut one = One::new(lab, Caller::Root, flags, "");
    let program = Pid::from_raw(one.pid());
    let mut exec = lab.traced_with_stderr(BIN, &["exec", "one", "true"]);
    if !exec.to(Side::Host, number) {
        assert_eq!(exec.end_beside_others(), 0);
        return None;
    }
    kill(program, Signal::SIGKILL).unwrap();
    one.ends = true;
    then();
    let code = exec.end_beside_others();
    Some((code, lab.traced_stderr()))
}

#[test]
fn exec_ends_with_the_container_at_any_system_call_and_says_why() {
    let lab = Lab::new();
    let mut refused = 0;
    for number in (0..).step_by(7) {
        let Some((code, said)) = beside_a_kill(&lab, &[], number, || {}) else {
            break;
        };
        match code {
            125 => assert!(said.contains("container one is not running"), "{said}"),
            // The program ran to its own end, or to that of the container.
            0 | 137 => assert_eq!(said, "", "{number}"),
            _ => panic!("{number}: {code} {said}"),
        }
        refused += usize::from(code == 125);
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn exec_does_not_report_a_removal_as_a_killed_supervisor() {
    let lab = Lab::new();
    let name = lab.state().join("names/one");
    // The container is removed, unless a process of this exec must be reaped first.
    let removed = || {
        for _ in 0..30 {
            if name.symlink_metadata().is_err() {
                break;
            }
            sleep(Duration::from_millis(10));
        }
    };
    for number in (30..).step_by(7) {
        let ended = beside_a_kill(&lab, &["--rm"], number, removed);
        let Some((code, said)) = ended else { break };
        assert!(
            !said.contains("its supervisor was killed"),
            "{number}: {code} {said}"
        );
    }
}

#[test]
fn an_exec_killed_at_any_system_call_leaves_nothing_in_the_container() {
    let lab = Lab::new();
    let one = One::new(&lab, Caller::Root, &[], "");
    for side in [Side::Host, Side::Guest] {
        for number in (0..).step_by(7) {
            let mut exec = lab
                .traced(BIN, |command| {
                    command.args(["exec", "one", "true"]).stderr(Stdio::null())
                })
                .beside_others();
            if !exec.to(side, number) {
                assert_eq!(exec.end_beside_others(), 0);
                break;
            }
            exec.signal(side, Signal::SIGKILL);
            let code = exec.end_beside_others();
            // The intermediate process may have finished its work.
            let expected =
                if side == Side::Host { &[137][..] } else { &[0, 125, 137] };
            assert!(expected.contains(&code), "{side:?} {number}: {code}");
            until(|| is_alone(&one));
        }
    }
    assert_eq!(one.sh("echo alive"), "alive\n");
}
