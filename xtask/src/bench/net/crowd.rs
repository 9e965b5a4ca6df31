//! The start of the last of many containers of one network, beside the first of another.

use anyhow::{Result, ensure};

use super::{Aim, Host, Line, Measure, NAME, in_turn};

/// The number of containers on the network, including the measured one.
const MANY: usize = 200;

/// The last may take so much of the first one's time.
const LAST: f64 = 1.3;

/// `full` gets the crowd; `empty` is a host of its own, so that both have their turns.
pub(super) fn lines(full: &Host, empty: &Host) -> Result<Vec<Line>> {
    for _ in 1..MANY {
        full.said(&["run", "-d", "-net", NAME, "busybox", "sleep", "1000"])?;
    }
    let there = full.said(&["ps", "-q"])?.lines().count();
    ensure!(there == MANY - 1, "{there} of {} containers run", MANY - 1);
    let last: Measure = Box::new(|| full.start(&["-net", NAME]));
    let first: Measure = Box::new(|| empty.start(&["-net", NAME]));
    let contestants = vec![
        (format!("run -net, container {MANY}"), Aim::None, last),
        ("run -net, container 1".to_owned(), Aim::Ratio(LAST), first),
    ];
    in_turn(full.runs, "start on a network of many containers", contestants)
}
