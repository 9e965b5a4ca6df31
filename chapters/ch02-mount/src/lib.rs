//! The mount namespace: the container's own mount table.

#![forbid(unsafe_code)]

use anyhow::Result;
use common::step::{Hint, Step};
use common::{CloneArgs, ParentLink, Part, Plan};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;

/// A mount namespace: a private copy of the mount table. New mounts in it do not
/// appear on the host, nor the host's in it.
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

    fn clone_args(&self, args: &mut CloneArgs) {
        args.namespaces |= CloneFlags::CLONE_NEWNS;
    }

    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        // The copy is still linked to the original: systemd makes `/` shared, and a
        // mount below a shared mount point appears in both namespaces. So make all
        // mounts private before anything is mounted.
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .step(|| "mount(2) / MS_REC|MS_PRIVATE")
            .hint(|errno| {
                (errno == Errno::EINVAL).then(|| {
                    "the root directory is not a mount point, as after chroot(8): \
                     run this command outside the chroot"
                        .to_owned()
                })
            })
    }
}
// ANCHOR_END: part
