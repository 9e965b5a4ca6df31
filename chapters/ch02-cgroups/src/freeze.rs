//! `freeze` and `thaw`: stop and continue all processes of a group. The processes do
//! not notice it.

use std::fs::read_to_string;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use common::step::Step;

use crate::group::Group;

/// Maximum time until the kernel has stopped every process. A process stops only
/// when it leaves the kernel, or at an interruptible wait.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);

/// Stop (or continue) all processes of the group, and wait until the kernel reports
/// this state.
///
/// # Errors
/// The group has no freezer; a process does not stop within five seconds; ENODEV if
/// the group was removed.
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
    let deadline = Instant::now() + FREEZE_TIMEOUT;
    loop {
        let text = read_to_string(&file)
            .untraced(|| format!("read(2) {}", file.display()))?;
        if text.ends_with(done) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("timeout: {} still contains {:?}", file.display(), text.trim());
        }
        sleep(Duration::from_millis(1));
    }
}

/// Whether the processes in the group with this directory are stopped, or are being
/// stopped.
#[must_use]
pub fn is_frozen(place: &Path) -> bool {
    let state = |group: &Path, file| read_to_string(group.join(file));
    // v1: the state is FREEZING, then FROZEN. It includes a freeze of a group above.
    let v1 = state(place, "freezer.state").is_ok_and(|state| state.contains("FR"));
    // v2: the file contains only what was requested for this group, so the groups
    // above must be checked too. The root group cannot be frozen and has no such
    // file.
    let groups = place.ancestors();
    let mut asked = groups.map_while(|group| state(group, "cgroup.freeze").ok());
    v1 || asked.any(|asked| asked.trim() == "1")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_group_is_frozen_if_it_or_a_parent_group_is_frozen() {
        let top = tempfile::tempdir().unwrap();
        let group = top.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        assert!(!is_frozen(&group));
        for (here, above, frozen) in
            [("0", "0", false), ("1", "0", true), ("0", "1", true)]
        {
            fs::write(group.join("cgroup.freeze"), format!("{here}\n")).unwrap();
            fs::write(top.path().join("a/cgroup.freeze"), format!("{above}\n"))
                .unwrap();
            assert_eq!(is_frozen(&group), frozen, "{here} {above}");
        }
        fs::remove_file(group.join("cgroup.freeze")).unwrap();
        for (state, frozen) in
            [("THAWED", false), ("FREEZING", true), ("FROZEN", true)]
        {
            fs::write(group.join("freezer.state"), state).unwrap();
            assert_eq!(is_frozen(&group), frozen, "{state}");
        }
    }
}
