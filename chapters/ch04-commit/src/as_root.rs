//! The rights that reading a container's files takes.

use anyhow::{Context, Result};
use ch02_user::Outside;
use common::rights;
use nix::sched::CloneFlags;

/// Become root in a new user namespace, unless this process is privileged: then it can
/// read all files of the user's containers, whatever their modes are. True in any user
/// namespace but the initial one: there are no "trusted." attributes, no device nodes,
/// and perhaps no other owners.
///
/// # Errors
/// The user namespace of this process cannot be read.
pub fn become_root() -> Result<bool> {
    if rights::privileged() {
        return Ok(!rights::in_initial_user_namespace()?);
    }
    let outside = Outside::caller();
    // Where this is denied, the file that cannot be read is named later.
    let _ = nix::sched::unshare(CloneFlags::CLONE_NEWUSER)
        .context("unshare(2)")
        .and_then(|()| outside.becomes_root_of("self"));
    Ok(true)
}
