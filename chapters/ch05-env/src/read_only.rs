//! `--read-only`: a read-only root filesystem.

use anyhow::Result;
use common::step::Step;
use common::{ParentLink, Part, Plan, one_mount_read_only};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// The part that makes the root mount read-only. Mounts below it do not change:
/// volumes, /dev, /proc.
///
/// # Source
/// mount_setattr(2)
#[derive(Debug)]
pub struct ReadOnly {
    wanted: bool,
}

impl ReadOnly {
    /// Create the part. It does nothing if `wanted` is false.
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

    // This part comes after all parts that create files in the root filesystem.
    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let root = open("/", flags, Mode::empty()).untraced(|| "open(2) /")?;
        one_mount_read_only(&root).step(|| "mount_setattr(2) / read-only")
    }
}
// ANCHOR_END: part
