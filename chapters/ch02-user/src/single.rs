//! The ID map that every user may write: root inside is one user outside.

use std::fmt::Display;
use std::fs;

use anyhow::Result;
use common::hints;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, getgid, getuid};

/// A user and a group, by their IDs outside of the new user namespace. They must be
/// read before the namespace is entered: a process inside it has no ID until the map
/// is written.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    user: Uid,
    group: Gid,
}

impl Outside {
    /// The caller.
    #[must_use]
    pub fn caller() -> Outside {
        Outside { user: getuid(), group: getgid() }
    }

    // ANCHOR: map
    /// Make this user root of the user namespace of a process: a PID, or `self`.
    ///
    /// # Errors
    /// EPERM if the process has a map already, or belongs to another user.
    ///
    /// # Source
    /// user_namespaces(7), "Defining user and group ID mappings"
    pub fn becomes_root_of(self, process: impl Display) -> Result<()> {
        let write = |file: &str, text: String| {
            let path = format!("/proc/{process}/{file}");
            fs::write(&path, &text)
                .step(|| format!("write(2) \"{text}\" to {path}"))
                .hint(|errno| self.why(errno))
        };
        // A file mode can deny access to one group (for example 0604). A process
        // that leaves this group gains access. So the kernel accepts a group map
        // from an ordinary user only after setgroups(2) is denied in the namespace.
        write("setgroups", "deny".to_owned())?;
        write("gid_map", format!("0 {} 1", self.group))?;
        write("uid_map", format!("0 {} 1", self.user))
    }
    // ANCHOR_END: map

    /// # Source
    /// user_namespaces(7), "map user ID 0", on CAP_SETFCAP; since Linux 5.12
    fn why(self, errno: Errno) -> Option<String> {
        if errno == Errno::EPERM && self.user.is_root() {
            return Some(
                "root without capabilities cannot be mapped: keep CAP_SETFCAP and \
                 CAP_SYS_ADMIN (bwrap and docker run: --cap-add), or use another user"
                    .to_owned(),
            );
        }
        hints::clone(errno, CloneFlags::CLONE_NEWUSER)
    }
}
