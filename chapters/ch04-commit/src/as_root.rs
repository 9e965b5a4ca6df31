//! Get the rights to read a container's files.

use anyhow::{Context, Result};
use ch02_user::Outside;
use common::rights;
use nix::sched::CloneFlags;

/// Become root in a new user namespace, unless this process is privileged. Then the
/// process can read all files of the user's containers, regardless of their modes.
/// Returns whether the process is in a user namespace other than the initial one.
/// There, "trusted." attributes and device nodes cannot be created, and other owners
/// may not be mapped.
///
/// # Errors
/// The user namespace of this process cannot be read.
pub fn become_root() -> Result<bool> {
    if rights::privileged() {
        return Ok(!rights::in_initial_user_namespace()?);
    }
    let outside = Outside::caller();
    // If this is denied, a later error names the file that cannot be read.
    let _ = nix::sched::unshare(CloneFlags::CLONE_NEWUSER)
        .context("unshare(2)")
        .and_then(|()| outside.becomes_root_of("self"));
    Ok(true)
}
