//! What the kernel's errnos mean here.

use std::path::Path;

use nix::errno::Errno;

/// The files of v1 and what v2 has in their place, with the controller.
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

/// For a file that a group doesn't have.
pub(crate) fn no_file(key: &str) -> String {
    let names = NAMES.iter().find(|(v1, v2, _)| *v1 == key || *v2 == key);
    match names {
        Some((v1, v2, _)) if *v1 == key => {
            format!("the group has no {key}, which is v1's; v2 has {v2}")
        }
        Some((v1, ..)) => {
            format!("the group has no {key}, which is v2's; v1 has {v1}")
        }
        None => {
            let controller = key.split('.').next().unwrap_or(key);
            format!(
                "the group has no {key}: list shows whether there is a controller \
                 {controller}, and ls of the group's directory what its files are"
            )
        }
    }
}

/// For mkdir(2) of a group.
pub(crate) fn make(errno: Errno, path: &Path) -> Option<String> {
    match errno {
        Errno::EEXIST => Some("there is such a group: delete removes it".to_owned()),
        Errno::ENOENT => Some("create the group above it first".to_owned()),
        Errno::EAGAIN => Some(format!(
            "{} has as many groups inside as it may",
            path.parent().unwrap_or(path).display()
        )),
        errno => rights(errno),
    }
}

/// For a value that is written.
pub(crate) fn set(errno: Errno, key: &str) -> Option<String> {
    match errno {
        Errno::EINVAL | Errno::ERANGE | Errno::EOPNOTSUPP => Some(format!(
            "the kernel doesn't take this value for {key}, or not in this group"
        )),
        Errno::EBUSY => Some(
            "what the group uses already, or groups inside it, stand against this \
             value"
                .to_owned(),
        ),
        Errno::ENODEV => {
            Some("limits are for whole disks, by MAJOR:MINOR".to_owned())
        }
        errno => rights(errno),
    }
}

/// For a process that is moved.
pub(crate) fn add(errno: Errno) -> Option<String> {
    match errno {
        Errno::ESRCH => Some("there is no such process".to_owned()),
        Errno::EINVAL => Some(
            "threads of the kernel's own stay in the top group, and in v1's cpu \
             hierarchy so do realtime processes"
                .to_owned(),
        ),
        Errno::EBUSY => Some(
            "a group of v2 that hands controllers down to groups inside holds no \
             processes: choose one of those"
                .to_owned(),
        ),
        Errno::EOPNOTSUPP => Some(common::hints::INVALID_GROUP.to_owned()),
        Errno::ENOSPC => Some(
            "a group of v1's cpuset takes nobody before it has cpuset.cpus and \
             cpuset.mems"
                .to_owned(),
        ),
        errno => rights(errno),
    }
}

/// For a controller that is handed down.
pub(crate) fn hand_down(errno: Errno, group: &Path) -> Option<String> {
    match errno {
        Errno::EBUSY => Some(format!(
            "{} has processes of its own, and in v2 such a group hands nothing \
             down: move them into a group inside it",
            group.display()
        )),
        Errno::EINVAL => Some(
            "with realtime processes outside the top group the cpu controller can't \
             be enabled"
                .to_owned(),
        ),
        errno => rights(errno),
    }
}

fn rights(errno: Errno) -> Option<String> {
    match errno {
        Errno::EACCES | Errno::EPERM => Some(
            "groups are root's, unless some were handed to you: with systemd and \
             cgroup v2, put this before the command: \
             systemd-run --user --scope -p Delegate=yes"
                .to_owned(),
        ),
        Errno::EROFS => Some(
            "the cgroup file system is read-only here, as inside most containers"
                .to_owned(),
        ),
        _ => None,
    }
}
