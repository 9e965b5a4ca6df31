//! The descendants of this process. It is a subreaper: orphans among its descendants
//! become its children, not those of PID 1.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The living descendants, by their PIDs, each with its name.
#[must_use]
pub fn living() -> BTreeMap<i32, String> {
    let own = std::process::id() as i32;
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Some(stat) = Stat::of(&entry.path()) else { continue };
        all.insert(pid, (stat.parent, matches!(stat.state, 'Z' | 'X'), stat.name));
    }
    let descends = |mut pid: i32| {
        while let Some((parent, ..)) = all.get(&pid) {
            if *parent == own {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let living = all.iter().filter(|(pid, (_, dead, _))| !dead && descends(**pid));
    living.map(|(pid, (_, _, name))| (*pid, name.clone())).collect()
}

/// The first fields of a process in /proc.
///
/// # Source
/// proc_pid_stat(5)
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) parent: i32,
}

impl Stat {
    /// Read this directory in /proc; `None` if it is not a process, or the process
    /// has ended.
    pub(crate) fn of(process: &Path) -> Option<Stat> {
        // PID (NAME) STATE PARENT …; the name may contain any characters.
        let stat = fs::read_to_string(process.join("stat")).ok()?;
        let (head, tail) = stat.rsplit_once(") ")?;
        let mut fields = tail.split(' ');
        Some(Stat {
            name: head.split_once('(')?.1.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
        })
    }
}

/// Kill all descendants.
pub(crate) fn kill_all() {
    for pid in living().into_keys() {
        // A process that has ended meanwhile is not an error.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Reap the ended children that no other code waits for.
pub(crate) fn reap() {
    let any = Pid::from_raw(-1);
    while let Ok(status) = waitpid(any, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// Kill all descendants and wait until they have ended.
pub(crate) fn end() {
    while !living().is_empty() {
        kill_all();
        let _ = waitpid(Pid::from_raw(-1), None);
    }
    reap();
}
