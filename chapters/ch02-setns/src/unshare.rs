//! `unshare`: unshare(2), the second of the three calls.

use std::ffi::OsString;

use anyhow::Result;
use ch02_user::Outside;
use common::step::{Hint, Step};
use common::{Exit, hints};
use nix::mount::{MsFlags, mount};

use crate::become_program::become_program;
use crate::kind::{Kind, flags, for_children, names};

// ANCHOR: unshare
/// Move this process to new namespaces of these kinds, and execute the program.
///
/// # Errors
/// EPERM if the caller lacks CAP_SYS_ADMIN and `kinds` contains no user namespace;
/// the program cannot be executed (see [`become_program`]).
/// # Source
/// unshare(2)
pub fn unshare(kinds: &[Kind], words: &[OsString]) -> Result<Exit> {
    // Read the IDs first: inside the new user namespace, this process can no longer
    // read its IDs outside.
    let outside = Outside::caller();
    nix::sched::unshare(flags(kinds))
        .step(|| format!("unshare(2) {}", names(kinds)))
        .hint(|errno| hints::clone(errno, flags(kinds)))?;
    for kind in kinds {
        match kind.file {
            // There is no parent that writes the maps. A process may write its own
            // maps, but only with its own IDs (user_namespaces(7)).
            "user" => outside.becomes_root_of("self")?,
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
