//! The mount namespace: a mount table of one's own.

#![forbid(unsafe_code)]

use anyhow::Result;
use common::step::{Hint, Step};
use common::{Birth, Part, Plan, Up};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;

/// A mount namespace: a copy of the mount table, cut off from the original.
///
/// # Source
/// mount_namespaces(7)
#[derive(Debug)]
pub struct Mount;

// ANCHOR: part
impl Part for Mount {
    fn name(&self) -> &'static str {
        "mount"
    }

    fn birth(&self, birth: &mut Birth) {
        birth.namespaces |= CloneFlags::CLONE_NEWNS;
    }

    fn enter(&self, _plan: &Plan, _up: &Up) -> Result<()> {
        // The copy still hangs together with the original: systemd makes `/`
        // shared, and a mount made on one side of a shared mount appears on the
        // other. Private first, before anything is mounted.
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .step(|| "mount(2) / MS_REC|MS_PRIVATE")
            .hint(|errno| {
                (errno == Errno::EINVAL).then(|| {
                    "the root here is no mount but a directory, as after chroot(8): \
                     run it outside of that"
                        .to_owned()
                })
            })
    }
}
// ANCHOR_END: part
