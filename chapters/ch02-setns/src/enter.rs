//! `enter`: setns(2), the third of the three calls.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

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

/// Join the namespaces of a process, or one held namespace, and execute the program.
/// `target` is a process ID, the name of the held namespace, or the path of a namespace's
/// file, which contains a slash. If `kinds` is empty, join all of the process's namespaces
/// that differ from the caller's.
///
/// # Errors
/// The process or the name does not exist; EPERM if the caller lacks CAP_SYS_ADMIN
/// in the owning user namespace; the program cannot be executed (see
/// [`become_program`]).
pub fn enter(target: &str, kinds: Vec<Kind>, words: &[OsString]) -> Result<Exit> {
    match target.parse() {
        Ok(pid) => enter_process(pid, kinds, words),
        Err(_) => enter_held(target, &kinds, words),
    }
}

// ANCHOR: enter
fn enter_process(
    pid: i32,
    mut kinds: Vec<Kind>,
    words: &[OsString],
) -> Result<Exit> {
    // The file descriptor always refers to this process, even if the kernel reuses
    // its process ID.
    let process = Pid::from_raw(pid).filter(|_| pid > 0);
    let process = process.with_context(|| format!("there is no process {pid}"))?;
    let pidfd = pidfd_open(process, PidfdFlags::empty())
        .step(|| format!("pidfd_open(2) {pid}"))
        .hint(|errno| {
            (errno == Errno::ESRCH).then(|| format!("there is no process {pid}"))
        })?;
    if kinds.is_empty() {
        for kind in KINDS {
            // Joining the caller's own user namespace fails with EINVAL. Joining
            // another namespace of the caller would have no effect.
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
        bail!(
            "{name} stands for one namespace: remove the options that select kinds"
        );
    }
    let path = match name.contains('/') {
        true => PathBuf::from(name),
        false => {
            let name: Name =
                name.parse().context("expected a process ID, a name or a path")?;
            hold::path(&name)?
        }
    };
    let file = File::open(&path)
        .step(|| format!("open(2) {}", path.display()))
        .hint(|errno| {
            (errno == Errno::ENOENT && !name.contains('/')).then(|| {
                format!("no namespace is held under {name}: use hold first")
            })
        })?;
    setns(&file, CloneFlags::empty())
        .step(|| format!("setns(2) {}", path.display()))
        .hint(|errno| {
            (errno == Errno::EINVAL).then(|| {
                format!(
                    "the namespace is no longer held, for example because of a \
                     reboot: use release {name}"
                )
            })
        })?;
    // The kind of the namespace is not known here. If it is a PID namespace, it
    // applies only to children.
    become_program(words, true)
}

/// Become UID 0 and GID 0 if these are mapped: the caller's own IDs may be unmapped
/// in this user namespace.
fn be_root_inside() -> Result<()> {
    let tolerated = |done: nix::Result<()>, call: &str| match done {
        // The ID is not mapped, or /proc/PID/setgroups contains "deny".
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
            "setns(2) requires CAP_SYS_ADMIN in the namespace's user namespace and \
             in your own: join the user namespace too (--user), or use root"
                .to_owned(),
        ),
        Errno::EINVAL if kinds.iter().any(|kind| kind.file == "user") => Some(
            "this may be the process's own user namespace, which cannot be joined"
                .to_owned(),
        ),
        _ => None,
    }
}
