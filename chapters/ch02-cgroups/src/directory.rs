//! The directory of a group: its name, its processes, and its controllers.

use std::fs::{self, read_to_string};
use std::path::Path;

use anyhow::Result;
use common::step::{Hint, Step};

use crate::hints;

/// The prefix of all group directories. Directories without it are never changed or
/// removed.
pub(crate) const PREFIX: &str = "mydocker-";

/// The IDs of the processes in the group with this directory.
///
/// # Errors
/// ENOENT or ENODEV if the group was removed.
pub fn processes(path: &Path) -> Result<Vec<i32>> {
    let path = path.join("cgroup.procs");
    let text =
        read_to_string(&path).untraced(|| format!("read(2) {}", path.display()))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

// ANCHOR: enable_controllers
/// Enable the controllers for a new v2 group. A group has only the controllers that
/// the group above it enables in `cgroup.subtree_control`. So this function enables
/// them in every group from `top` to the parent of `path`.
///
/// # Source
/// cgroup-v2.rst, "Enabling and Disabling" and "No Internal Process Constraint"
pub(crate) fn enable_controllers(
    top: &Path,
    path: &Path,
    wanted: &[String],
) -> Result<()> {
    let above = path.ancestors().skip(1);
    let mut above: Vec<&Path> = above.take_while(|at| at.starts_with(top)).collect();
    above.reverse();
    above.into_iter().try_for_each(|group| enable(group, wanted))
}

/// Enable these controllers for the groups inside this v2 group.
pub(crate) fn enable(group: &Path, wanted: &[String]) -> Result<()> {
    let file = group.join("cgroup.subtree_control");
    let enabled = read_to_string(&file)
        .untraced(|| format!("read(2) {}", file.display()))
        .hint(|errno| hints::make(errno, group))?;
    let enabled: Vec<&str> = enabled.split_whitespace().collect();
    let missing = wanted.iter().filter(|name| !enabled.contains(&name.as_str()));
    let missing: Vec<String> = missing.map(|name| format!("+{name}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" ");
    fs::write(&file, &missing)
        .step(|| format!("write(2) {missing:?} to {}", file.display()))
        .hint(|errno| hints::enable_controllers(errno, group))
}
// ANCHOR_END: enable_controllers
