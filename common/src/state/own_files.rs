//! The files of `/etc` that the host keeps for a container, from chapter 6.2 on.
//!
//! ```text
//! containers/ID/etc/hosts         mounted on /etc/hosts, and rewritten in place
//! containers/ID/etc/hostname
//! containers/ID/etc/resolv.conf
//! ```
//!
//! They are no part of the write layer, so `commit` leaves them out.

use std::path::PathBuf;

use crate::state::home::Home;

/// The file names, in the container's directory and in its `/etc`.
pub const OWN_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

impl Home {
    /// The directory of these files. A container of an earlier chapter has none.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.dir().join("etc")
    }
}
