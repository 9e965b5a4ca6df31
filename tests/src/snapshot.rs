//! The state of a machine: everything that a container could leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{descendants, netlink};

/// Mounts, cgroups and their hierarchies, links, addresses, routes, firewall rules,
/// the sysctls for forwarding, System V objects, processes, the permissions of
/// devices, and the files of the state directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<&'static str, BTreeSet<String>>);

impl Snapshot {
    /// Record everything; `state` is the state directory of the test.
    #[must_use]
    pub fn take(state: &Path) -> Snapshot {
        Snapshot(BTreeMap::from([
            ("mount", lines("/proc/self/mountinfo")),
            ("cgroup", cgroups()),
            ("hierarchy", hierarchies()),
            ("link", entries(Path::new("/sys/class/net"))),
            ("address", netlink::addresses()),
            ("route", netlink::routes()),
            ("rule", netlink::rules()),
            ("sysctl", sysctls()),
            ("queue", objects("/proc/sysvipc/msg")),
            ("semaphore", objects("/proc/sysvipc/sem")),
            ("shared memory", objects("/proc/sysvipc/shm")),
            ("process", processes()),
            ("device", devices()),
            ("file", files(state)),
        ]))
    }

    /// The differences between `after` and this snapshot, one per line.
    #[must_use]
    pub fn differences(&self, after: &Snapshot) -> Vec<String> {
        let mut found = Vec::new();
        for (kind, before) in &self.0 {
            let after = &after.0[kind];
            if *kind != "cgroup" {
                found.extend(compare(kind, before, after));
                continue;
            }
            // Service managers create and remove cgroups for their own processes all
            // the time. A new cgroup without processes, or with a descendant of this
            // process, belongs to the test.
            let new =
                after.difference(before).filter(|group| ours(Path::new(group)));
            found.extend(new.map(|group| format!("cgroup left: {group}")));
        }
        found
    }
}

/// Whether a cgroup exists and belongs to the test.
fn ours(group: &Path) -> bool {
    let Ok(members) = fs::read_to_string(group.join("cgroup.procs")) else {
        return false;
    };
    let living = descendants::living();
    let mut members = members.lines().filter_map(|pid| pid.parse().ok());
    members.all(|pid: i32| living.contains_key(&pid))
}

/// The added and the missing lines.
pub(crate) fn compare(
    kind: &str,
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
) -> Vec<String> {
    let left = after.difference(before).map(|it| format!("{kind} left: {it}"));
    let gone = before.difference(after).map(|it| format!("{kind} gone: {it}"));
    left.chain(gone).collect()
}

fn devices() -> BTreeSet<String> {
    let line = |(path, mode, user, group): (PathBuf, u32, u32, u32)| {
        format!("{} {mode:o} {user}:{group}", path.display())
    };
    crate::devices::devices().into_iter().map(line).collect()
}

/// The sysctls that chapter 6 sets, with their values.
const SYSCTLS: [&str; 3] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/default/route_localnet",
];

fn sysctls() -> BTreeSet<String> {
    let line = |name: &&str| {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        Some(format!("{name} = {}", value.trim()))
    };
    SYSCTLS.iter().filter_map(line).collect()
}

fn lines(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// System V objects by key and ID; the rest of a line changes with their use.
fn objects(file: &str) -> BTreeSet<String> {
    let name = |line: String| {
        let mut words = line.split_whitespace().take(2);
        let (key, id) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        format!("{key} {id}")
    };
    lines(file).into_iter().map(name).collect()
}

fn entries(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The mount points of cgroup hierarchies, of v1 and v2.
#[must_use]
pub fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let roots = mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let is_cgroup = file_system.starts_with("cgroup");
        is_cgroup.then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    });
    roots.collect()
}

/// The cgroup hierarchies, mounted or not: a hierarchy exists without a mount as
/// long as it contains a cgroup.
fn hierarchies() -> BTreeSet<String> {
    let name = |line: String| line.split(':').nth(1).unwrap_or_default().to_owned();
    lines("/proc/self/cgroup").into_iter().map(name).collect()
}

/// Whether a mounted hierarchy has this controller.
#[must_use]
pub fn has_controller(name: &str) -> bool {
    let v1 = lines("/proc/self/mountinfo").into_iter().any(|line| {
        let options = line.split_once(" - cgroup ").map(|(_, options)| options);
        options.is_some_and(|options| options.split([' ', ',']).any(|it| it == name))
    });
    v1 || cgroup_roots().iter().any(|root| {
        let list = fs::read_to_string(root.join("cgroup.controllers"));
        list.unwrap_or_default().split_whitespace().any(|it| it == name)
    })
}

fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = cgroup_roots();
    while let Some(group) = todo.pop() {
        for entry in fs::read_dir(&group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.insert(entry.path().display().to_string());
                todo.push(entry.path());
            }
        }
    }
    found
}

fn processes() -> BTreeSet<String> {
    let living = descendants::living().into_iter();
    living.map(|(pid, name)| format!("{pid} {name}")).collect()
}

/// Every path, with the attributes that show a change.
pub(crate) fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        // The times of the containers' directories and of their parents change with
        // every container.
        let lasting = meta.is_file() || name.starts_with("layers/");
        let (seconds, nanos) =
            if lasting { (meta.mtime(), meta.mtime_nsec()) } else { (0, 0) };
        let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
        let size = if meta.is_dir() { 0 } else { meta.size() };
        let ignored = [
            "",
            "running",
            "containers",
            "names",
            "networks",
            "images",
            "images/index.json",
            "layers",
            "fetch.lock",
            "networks/.shared",
        ];
        if !ignored.contains(&name.as_str()) {
            found.insert(format!(
                "{name} mode {mode:o} owner {uid}:{gid} size {size} \
                 time {seconds}.{nanos:09}"
            ));
        }
        if meta.is_dir() {
            let inside = fs::read_dir(&path).into_iter().flatten().flatten();
            todo.extend(inside.map(|entry| entry.path()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_with_a_process_that_is_not_a_descendant_is_not_ours() {
        let group = tempfile::tempdir().unwrap();
        assert!(!ours(group.path()), "it does not exist, or is not a cgroup");
        let members = group.path().join("cgroup.procs");
        fs::write(&members, "").unwrap();
        assert!(ours(group.path()));
        fs::write(&members, "1\n").unwrap();
        assert!(!ours(group.path()));
    }
}
