//! The start of the last of many containers on one network, compared with the first
//! of another network.

use anyhow::{Result, ensure};

use super::{Aim, Host, Line, Measure, NAME, in_turn};

/// The number of containers on the network, including the measured one.
const MANY: usize = 200;

/// The maximum of the last container's time divided by the first one's.
const LAST: f64 = 1.3;

/// `full` is the host with many containers; `empty` is another host, so that both
/// can take turns.
pub(super) fn lines(full: &Host, empty: &Host) -> Result<Vec<Line>> {
    for _ in 1..MANY {
        full.output(&["run", "-d", "-net", NAME, "busybox", "sleep", "1000"])?;
    }
    let there = full.output(&["ps", "-q"])?.lines().count();
    ensure!(there == MANY - 1, "only {there} of {} containers run", MANY - 1);
    let last: Measure = Box::new(|| full.start(&["-net", NAME]));
    let first: Measure = Box::new(|| empty.start(&["-net", NAME]));
    let contestants = vec![
        (format!("run -net, container {MANY}"), Aim::None, last),
        ("run -net, container 1".to_owned(), Aim::Ratio(LAST), first),
    ];
    in_turn(full.runs, "start on a network of many containers", contestants)
}
