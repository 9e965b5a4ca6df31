//! The groups of cgroup v2.

use std::fs;
use std::path::PathBuf;

use blackbox::cgroup_roots;

use crate::outcome::Trouble;

/// The root group.
pub(super) fn v2() -> Result<PathBuf, Trouble> {
    let is_v2 = |root: &PathBuf| root.join("cgroup.controllers").exists();
    let root = cgroup_roots().into_iter().find(is_v2);
    root.ok_or_else(|| Trouble::skip("no cgroup v2 is mounted"))
}

/// The directory of the group of a container's process.
pub(super) fn own_group(pid: i32) -> Result<PathBuf, Trouble> {
    let root = v2()?;
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let table = table.unwrap_or_default();
    let group = table.lines().find_map(|line| line.strip_prefix("0::/"));
    match group.filter(|group| group.contains("mydocker-")) {
        Some(group) => Ok(root.join(group)),
        None => Err(Trouble::fail("the container in a group of its own", table)),
    }
}
