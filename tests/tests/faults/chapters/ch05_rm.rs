//! A removal of ch05-rm, killed.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use blackbox::{CAT, Lab, Side, started};
use nix::sys::signal::Signal;

use super::ok;

const BIN: &str = "ch05-rm";

#[test]
fn a_removal_killed_at_any_system_call_is_completed_by_the_next() {
    let lab = Lab::new();
    for number in (0..).step_by(4) {
        match number % 8 {
            0 => drop(ok(&lab, BIN, &["run", "--name", "web", "busybox", "true"])),
            _ => dead(&lab, "web"),
        }
        let mut rm = lab.traced(BIN, |command| {
            command.args(["rm", "web"]).stdout(Stdio::null()).stderr(Stdio::null())
        });
        let reached = rm.to(Side::Host, number);
        if reached {
            rm.signal(Side::Host, Signal::SIGKILL);
        }
        assert_eq!(rm.end(), if reached { 137 } else { 0 }, "{number}");
        ok(&lab, BIN, &["prune"]);
        assert!(is_empty(&lab.state()), "{number}");
        assert_eq!(ok(&lab, BIN, &["prune"]), "", "{number}");
        if !reached {
            break;
        }
    }
}

/// A container whose supervisor was killed.
fn dead(lab: &Lab, name: &str) {
    let words = ["run", "--name", name];
    let mut run = started(lab.command(&[], BIN), &words, CAT);
    run.kill().unwrap();
    run.wait().unwrap();
}

/// Whether no container has left anything in the state directory.
fn is_empty(state: &Path) -> bool {
    let places = ["containers", "running", "names"].map(|name| state.join(name));
    places
        .iter()
        .all(|place| fs::read_dir(place).is_ok_and(|mut it| it.next().is_none()))
}
