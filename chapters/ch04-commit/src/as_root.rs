//! The rights that reading a container's files takes.

use anyhow::Context;
use common::rights;
use nix::sched::CloneFlags;
use nix::unistd::{getgid, getuid};

/// Who is not root becomes it in a user namespace, where the files of its containers
/// can be read whatever their modes are. True if it was needed.
#[must_use]
pub fn become_root() -> bool {
    if rights::privileged() {
        return false;
    }
    // Who I am outside has to be asked before.
    let (uid, gid) = (getuid(), getgid());
    let write =
        |file, text: String| std::fs::write(format!("/proc/self/{file}"), text);
    // Where that is closed, what can't be read is named when it comes to it.
    let _ = nix::sched::unshare(CloneFlags::CLONE_NEWUSER)
        .context("unshare(2)")
        .and_then(|()| {
            write("setgroups", "deny".into())?;
            write("gid_map", format!("0 {gid} 1"))?;
            Ok(write("uid_map", format!("0 {uid} 1"))?)
        });
    true
}
