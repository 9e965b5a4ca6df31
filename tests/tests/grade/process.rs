//! A process, as /proc shows it from outside the container.

use std::fs;
use std::path::PathBuf;

/// A field of /proc/PID/status; empty if there is no such process.
///
/// # Source
/// proc_pid_status(5)
pub(crate) fn field(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut values = text.lines().filter_map(|line| line.split_once(':'));
    let found = values.find(|(it, _)| *it == name);
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// Read a symlink in /proc/PID, such as `ns/uts` or `fd/0`. The result is empty if the link
/// does not exist.
pub(crate) fn link(pid: i32, name: &str) -> String {
    let target = fs::read_link(format!("/proc/{pid}/{name}")).unwrap_or_default();
    target.to_string_lossy().into_owned()
}

/// The fields of /proc/PID/stat from the third one on.
///
/// # Source
/// proc_pid_stat(5)
pub(crate) fn stat(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the name, which may contain spaces and brackets.
    let after = text.rsplit_once(") ").map(|(_, after)| after).unwrap_or_default();
    after.split_whitespace().map(str::to_owned).collect()
}

/// The directories of the groups of a process, in v1 and v2.
pub(crate) fn groups(pid: i32) -> Vec<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let paths: Vec<_> =
        text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    let roots = blackbox::cgroup_roots();
    let join = |root: &PathBuf, path: &str| root.join(path.trim_start_matches('/'));
    roots.iter().flat_map(|root| paths.iter().map(|path| join(root, path))).collect()
}
