//! `pair` of ch02-net, killed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use blackbox::{Lab, Side};
use nix::sys::signal::Signal;

/// A run that takes longer counts as a hang.
const TIMEOUT: Duration = Duration::from_secs(120);

#[test]
fn pair_leaves_nothing_if_its_supervisor_is_killed_at_any_system_call() {
    let lab = Lab::with_patience(TIMEOUT);
    let mut killed = 0;
    for number in (0..).step_by(7) {
        let begun = Instant::now();
        let mut run = lab.traced("ch02-net", |command| {
            command.args(["pair", "true"]).stderr(Stdio::null())
        });
        if !run.to(Side::Guest, number) {
            assert_eq!(run.end(), 0);
            break;
        }
        run.signal(Side::Host, Signal::SIGKILL);
        // Returns when no descendant of it lives any more.
        assert_eq!(run.end(), 137, "{number}");
        assert!(begun.elapsed() < TIMEOUT, "{number}: a process still lives");
        killed += 1;
    }
    // It makes about a hundred calls, most of them for the pair.
    assert!(killed > 10, "{killed}");
}
