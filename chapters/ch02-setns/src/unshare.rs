//! `unshare`: the second of the three calls.

use std::ffi::OsString;
use std::fs;

use anyhow::Result;
use common::step::{Hint, Step};
use common::{Exit, hints};
use nix::mount::{MsFlags, mount};
use nix::unistd::{getgid, getuid};

use crate::become_program::become_program;
use crate::kind::{Kind, flags, for_children, names};

// ANCHOR: unshare
/// Leave the namespaces of these kinds for new ones, and become the program.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, unless a user namespace is among the kinds.
/// # Source
/// unshare(2)
pub fn unshare(kinds: &[Kind], words: &[OsString]) -> Result<Exit> {
    // Who I am outside has to be asked before.
    let (uid, gid) = (getuid(), getgid());
    nix::sched::unshare(flags(kinds))
        .step(|| format!("unshare(2) {}", names(kinds)))
        .hint(|errno| hints::clone(errno, flags(kinds)))?;
    for kind in kinds {
        match kind.file {
            // There is no parent here that could write the maps. A process may map
            // itself, to its own ids only (user_namespaces(7)).
            "user" => {
                write("setgroups", "deny")?;
                write("gid_map", &format!("0 {gid} 1"))?;
                write("uid_map", &format!("0 {uid} 1"))?;
            }
            "mnt" => {
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                    .step(|| "mount(2) / MS_REC|MS_PRIVATE")?;
            }
            _ => {}
        }
    }
    become_program(words, for_children(kinds))
}
// ANCHOR_END: unshare

fn write(file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/self/{file}");
    fs::write(&path, text).step(|| format!("write(2) \"{text}\" to {path}"))
}
