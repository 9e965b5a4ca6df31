//! A root that can't be written to.

use anyhow::Result;
use common::step::Step;
use common::{Part, Plan, Up, one_mount_read_only};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// The root's mount, read-only. The mounts on it are others: volumes, /dev, /proc.
///
/// # Source
/// mount_setattr(2)
#[derive(Debug)]
pub struct ReadOnly {
    wanted: bool,
}

impl ReadOnly {
    /// If it is wanted.
    #[must_use]
    pub fn new(wanted: bool) -> ReadOnly {
        ReadOnly { wanted }
    }
}

// ANCHOR: part
impl Part for ReadOnly {
    fn name(&self) -> &'static str {
        "read-only"
    }

    // After all who make something in the root.
    fn enter(&self, _plan: &Plan, _up: &Up) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let root = open("/", flags, Mode::empty()).look(|| "open(2) /")?;
        one_mount_read_only(&root).step(|| "mount_setattr(2) / read-only")
    }
}
// ANCHOR_END: part
