//! `enter`: the third of the three calls.

use std::ffi::OsString;
use std::fs::File;

use anyhow::{Context, Result, bail};
use common::Exit;
use common::state::Name;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::become_program::become_program;
use crate::hold;
use crate::kind::{KINDS, Kind, flags, for_children, names};
use crate::list::number;

/// Join the namespaces of a process, or one that is held under a name, and become
/// the program. Without kinds, all of the process' that are not ours.
///
/// # Errors
/// There is no such process or name; EPERM without CAP_SYS_ADMIN over them.
pub fn enter(who: &str, kinds: Vec<Kind>, words: &[OsString]) -> Result<Exit> {
    match who.parse() {
        Ok(pid) => enter_process(pid, kinds, words),
        Err(_) => enter_held(who, &kinds, words),
    }
}

// ANCHOR: enter
fn enter_process(
    pid: i32,
    mut kinds: Vec<Kind>,
    words: &[OsString],
) -> Result<Exit> {
    // The descriptor keeps meaning this very process, whoever gets its number next.
    let process = Pid::from_raw(pid).filter(|_| pid > 0);
    let process = process.with_context(|| format!("there is no process {pid}"))?;
    let pidfd = pidfd_open(process, PidfdFlags::empty())
        .step(|| format!("pidfd_open(2) {pid}"))
        .hint(|errno| {
            (errno == Errno::ESRCH).then(|| format!("there is no process {pid}"))
        })?;
    if kinds.is_empty() {
        for kind in KINDS {
            // Joining one's own user namespace is EINVAL; the others' is no use.
            if number(&pid.to_string(), kind)? != number("self", kind)? {
                kinds.push(kind);
            }
        }
    }
    if !kinds.is_empty() {
        setns(&pidfd, flags(&kinds))
            .step(|| format!("setns(2) {} of {pid}", names(&kinds)))
            .hint(|errno| why(errno, &kinds))?;
    }
    if kinds.iter().any(|kind| kind.file == "user") {
        be_root_inside()?;
    }
    become_program(words, for_children(&kinds))
}
// ANCHOR_END: enter

fn enter_held(name: &str, kinds: &[Kind], words: &[OsString]) -> Result<Exit> {
    if !kinds.is_empty() {
        bail!("{name} is one namespace, whose kind is known: leave the flags out");
    }
    let name: Name = name.parse().context("neither a process id nor a name")?;
    let path = hold::path(&name)?;
    let file = File::open(&path)
        .step(|| format!("open(2) {}", path.display()))
        .hint(|errno| {
            (errno == Errno::ENOENT)
                .then(|| format!("nothing is held under {name}: hold does that"))
        })?;
    setns(&file, CloneFlags::empty())
        .step(|| format!("setns(2) {}", path.display()))
        .hint(|errno| {
            (errno == Errno::EINVAL).then(|| {
                format!("it is held no more, as after a reboot: release {name}")
            })
        })?;
    // Were it a PID namespace, only a child would come into it.
    become_program(words, true)
}

/// Where uid 0 is mapped, be it: our own may be nobody's there.
fn be_root_inside() -> Result<()> {
    let tolerated = |done: nix::Result<()>, call: &str| match done {
        // Not mapped; or groups can't be dropped, where the map says "deny".
        Err(Errno::EINVAL | Errno::EPERM) => Ok(()),
        done => done.step(|| call.to_owned()),
    };
    tolerated(setgroups(&[]), "setgroups(2)")?;
    tolerated(setgid(Gid::from_raw(0)), "setgid(2) 0")?;
    tolerated(setuid(Uid::from_raw(0)), "setuid(2) 0")
}

fn why(errno: Errno, kinds: &[Kind]) -> Option<String> {
    match errno {
        Errno::EPERM => Some(
            "joining takes CAP_SYS_ADMIN in the namespace's user namespace, and in \
             one's own: as an ordinary user join the user namespace too (--user), or \
             try as root"
                .to_owned(),
        ),
        Errno::EINVAL if kinds.iter().any(|kind| kind.file == "user") => {
            Some("it may be one's own user namespace, which can't be joined".to_owned())
        }
        _ => None,
    }
}
