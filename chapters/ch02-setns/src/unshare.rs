//! `unshare`: the second of the three calls.

use std::ffi::OsString;

use anyhow::Result;
use ch02_user::Outside;
use common::step::{Hint, Step};
use common::{Exit, hints};
use nix::mount::{MsFlags, mount};

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
    // Inside, this process does not know who it is outside.
    let outside = Outside::caller();
    nix::sched::unshare(flags(kinds))
        .step(|| format!("unshare(2) {}", names(kinds)))
        .hint(|errno| hints::clone(errno, flags(kinds)))?;
    for kind in kinds {
        match kind.file {
            // No parent waits here that could write the maps. A process may write its
            // own maps, with its own IDs only (user_namespaces(7)).
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
