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
    let state = |group: &Path, file| read_to_string(group.join(file));
    // v1: FREEZING, then FROZEN, by this group or one above it.
    let v1 = state(place, "freezer.state").is_ok_and(|state| state.contains("FR"));
    // v2 has a word each, and none for what is only asked for. The topmost group, which
    // can't be frozen, has no such file.
    let groups = place.ancestors();
    let mut asked = groups.map_while(|group| state(group, "cgroup.freeze").ok());
    v1 || asked.any(|asked| asked.trim() == "1")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_asked_for_counts_here_and_above() {
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
