//! The files of `/etc` that the host keeps for a container, from chapter 6.2 on.
//!
//! ```text
//! containers/ID/etc/hosts         mounted on /etc/hosts, and rewritten in place
//! containers/ID/etc/hostname
//! containers/ID/etc/resolv.conf
//! ```
//!
//! They are not part of the upper directory, so `commit` does not include them.

use std::path::PathBuf;

use crate::state::home::Home;

/// The file names, the same in this directory and in the container's `/etc`.
pub const OWN_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

impl Home {
    /// The directory of these files. A container of an earlier chapter has none.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.dir().join("etc")
    }
}
