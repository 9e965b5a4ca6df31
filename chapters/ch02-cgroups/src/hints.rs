//! Hints: what an errno of the kernel means for a group, and the remedy.

use std::path::Path;

use nix::errno::Errno;

/// The files of v1, the files of v2 that replace them, and the controller.
const NAMES: [(&str, &str, &str); 8] = [
    ("memory.limit_in_bytes", "memory.max", "memory"),
    ("memory.usage_in_bytes", "memory.current", "memory"),
    ("memory.max_usage_in_bytes", "memory.peak", "memory"),
    ("cpu.shares", "cpu.weight", "cpu"),
    ("cpu.cfs_quota_us", "cpu.max", "cpu"),
    ("cpuacct.usage", "cpu.stat", "cpu"),
    ("freezer.state", "cgroup.freeze", "freezer"),
    ("blkio.throttle.read_bps_device", "io.max", "io"),
];

/// The error for a file that a group does not have.
#[must_use]
pub fn missing_file(key: &str) -> String {
    for (v1, v2, _) in NAMES {
        if v1 == key {
            return format!(
                "the group has no file {key}, which belongs to cgroup v1: use {v2} \
                 of cgroup v2"
            );
        }
        if v2 == key {
            return format!(
                "the group has no file {key}, which belongs to cgroup v2: use {v1} \
                 of cgroup v1"
            );
        }
    }
    let controller = key.split('.').next().unwrap_or(key);
    format!(
        "the group has no file {key}: use list to check whether the controller \
         {controller} exists, and ls to see the files in the group's directory"
    )
}

/// For mkdir(2) of a group.
pub(crate) fn make(errno: Errno, path: &Path) -> Option<String> {
    let text = match errno {
        Errno::EEXIST => "the group already exists: use delete to remove it",
        Errno::ENOENT => {
            "the parent group does not exist in this hierarchy: create it first, \
             with the same controllers"
        }
        Errno::EAGAIN => {
            let above = path.parent().unwrap_or(path).display();
            return Some(format!(
                "{above} already contains the maximum number of groups"
            ));
        }
        errno => return rights(errno),
    };
    Some(text.to_owned())
}

/// For write(2) of a value.
pub(crate) fn set(errno: Errno, key: &str) -> Option<String> {
    let text = match errno {
        Errno::EINVAL | Errno::ERANGE | Errno::EOPNOTSUPP => {
            return Some(format!(
                "the kernel does not accept this value for {key}, or does not \
                 accept it in this group"
            ));
        }
        Errno::EBUSY => {
            "the group already uses more than this value, or a group inside it \
             needs more"
        }
        Errno::ENODEV => "limits apply to whole disks, by MAJOR:MINOR",
        errno => return rights(errno),
    };
    Some(text.to_owned())
}

/// For moving a process into a group.
#[must_use]
pub fn add(errno: Errno) -> Option<String> {
    let text = match errno {
        Errno::ESRCH => "the process does not exist",
        Errno::EINVAL => {
            "kernel threads cannot leave the root group; realtime processes cannot \
             leave it in the cpu hierarchy of cgroup v1"
        }
        Errno::EBUSY => {
            "a cgroup v2 that enables controllers for its children cannot contain \
             processes: choose one of the children"
        }
        Errno::EOPNOTSUPP => common::hints::INVALID_GROUP,
        Errno::ENOSPC => {
            "a group of v1's cpuset accepts no process before cpuset.cpus and \
             cpuset.mems are set"
        }
        errno => return rights(errno),
    };
    Some(text.to_owned())
}

/// For enabling a controller in `cgroup.subtree_control`.
pub(crate) fn enable_controllers(errno: Errno, group: &Path) -> Option<String> {
    let group = group.display();
    match errno {
        Errno::EBUSY => Some(format!(
            "the cgroup {group} contains processes, and a cgroup v2 with processes \
             cannot enable controllers for its children: move the processes into a \
             child cgroup"
        )),
        Errno::ENOENT => Some(format!(
            "{group} does not have all of these controllers: see its \
             cgroup.controllers"
        )),
        Errno::EINVAL => Some(
            "the cpu controller cannot be enabled while realtime processes are \
             outside the root group"
                .to_owned(),
        ),
        errno => rights(errno),
    }
}

fn rights(errno: Errno) -> Option<String> {
    let text = match errno {
        Errno::EACCES | Errno::EPERM => {
            "only root can create groups, unless a group was delegated to you: with \
             systemd and cgroup v2, put this before the command: \
             systemd-run --user --scope -p Delegate=yes; otherwise, use root or \
             `cargo xtask shell`"
        }
        Errno::EROFS => {
            "the cgroup filesystem is read-only here, as inside most containers"
        }
        _ => return None,
    };
    Some(text.to_owned())
}
