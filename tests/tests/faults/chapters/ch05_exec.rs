//! `exec` of ch05-exec, killed, and beside the end of its container.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use blackbox::{Lab, One, ROOT, Side, alone, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BIN: &str = "ch05-exec";

/// How exec ends and what it says when the container's program is killed before its
/// `number`th call, and `then` is done before it goes on; `None` when it makes no so many.
fn beside_a_kill(
    lab: &Lab,
    flags: &[&str],
    number: usize,
    then: impl FnOnce(),
) -> Option<(i32, String)> {
    let mut one = One::new(lab, ROOT, flags, "");
    let program = Pid::from_raw(one.pid());
    let mut exec = lab.overheard(BIN, &["exec", "one", "true"]);
    if !exec.to(Side::Host, number) {
        assert_eq!(exec.end_beside_others(), 0);
        return None;
    }
    kill(program, Signal::SIGKILL).unwrap();
    one.ends = true;
    then();
    let code = exec.end_beside_others();
    Some((code, lab.said()))
}

#[test]
fn whenever_the_container_ends_exec_does_and_says_why() {
    let lab = Lab::new();
    let mut refused = 0;
    for number in (0..).step_by(7) {
        let Some((code, said)) = beside_a_kill(&lab, &[], number, || {}) else {
            break;
        };
        match code {
            125 => assert!(said.contains("container one is not running"), "{said}"),
            // It ran: to its end, or to the container's.
            0 | 137 => assert_eq!(said, "", "{number}"),
            _ => panic!("{number}: {code} {said}"),
        }
        refused += usize::from(code == 125);
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn of_one_that_was_removed_nobody_says_that_its_host_side_was_killed() {
    let lab = Lab::new();
    let name = lab.state().join("names/one");
    // It is removed, unless a process of this exec has to be reaped first.
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
fn killed_at_any_stage_it_leaves_nothing_in_the_container() {
    let lab = Lab::new();
    let one = One::new(&lab, ROOT, &[], "");
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
            // The intermediate may have done all it had to do.
            let expected =
                if side == Side::Host { &[137][..] } else { &[0, 125, 137] };
            assert!(expected.contains(&code), "{side:?} {number}: {code}");
            until(|| alone(&one));
        }
    }
    assert_eq!(one.sh("echo alive"), "alive\n");
}
