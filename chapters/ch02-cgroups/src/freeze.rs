//! `freeze` and `thaw`: processes that make no step, and don't know it.

use std::fs::read_to_string;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use common::step::Step;

use crate::group::Group;

/// So long a process may take to come to where it can be stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stop all processes of the group, or let them go on, and wait until it is so.
///
/// # Errors
/// There is no freezer; a process that can't be stopped in five seconds.
/// # Source
/// cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, "cgroup.freeze"
pub fn freeze(group: &Group, frozen: bool) -> Result<()> {
    let (file, value, done) = match group.file("freezer.state") {
        Ok(file) if frozen => (file, "FROZEN", "FROZEN\n"),
        Ok(file) => (file, "THAWED", "THAWED\n"),
        Err(_) => {
            let value = if frozen { "1" } else { "0" };
            group.set("cgroup.freeze", value)?;
            let done = if frozen { "frozen 1\n" } else { "frozen 0\n" };
            (group.file("cgroup.events")?, "", done)
        }
    };
    if !value.is_empty() {
        group.set("freezer.state", value)?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text =
            read_to_string(&file).look(|| format!("read(2) {}", file.display()))?;
        if text.ends_with(done) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{} still says {:?}", file.display(), text.trim());
        }
        sleep(Duration::from_millis(1));
    }
}

/// Whether nobody in the group at this path makes a step, or will not for long.
#[must_use]
pub fn is_frozen(place: &Path) -> bool {
    let state = |file| read_to_string(place.join(file)).unwrap_or_default();
    // v1: FREEZING, then FROZEN, by this group or one above it.
    state("freezer.state").contains("FR")
        || state("cgroup.events").contains("frozen 1")
}
