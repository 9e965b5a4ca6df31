//! A pair of namespaces of ch02-net, with the devices between them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use blackbox::{Lab, Side};
use nix::sys::signal::Signal;

/// A run that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn nothing_of_the_pair_is_left_wherever_its_host_side_is_killed_while_it_is_made() {
    let lab = Lab::with_patience(PATIENCE);
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
        // Returns when nothing lives any more that descends from it.
        assert_eq!(run.end(), 137, "{number}");
        assert!(begun.elapsed() < PATIENCE, "{number}: it went on living");
        killed += 1;
    }
    // It makes some hundred calls, most of them for the pair.
    assert!(killed > 10, "{killed}");
}
