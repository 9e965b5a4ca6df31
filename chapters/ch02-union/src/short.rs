//! Short names for layers: all mount options must fit in one page.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::step::Step;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::chdir;

use crate::union::Union;

/// The maximum size of mount options in bytes, including the zero byte at the end.
/// mount(2) truncates longer options without an error.
pub(crate) const PAGE: usize = 4096;

// ANCHOR: short
/// Call `mount_as` with a union whose directories have names of a few bytes. These
/// names are relative to the working directory that this function sets.
///
/// The names are symlinks in a tmpfs that no other process sees. The function mounts
/// the tmpfs at the mount point of the union, enters it, and detaches it. The tmpfs
/// remains until this process leaves it, because it is the working directory.
pub(crate) fn short(
    union: &Union,
    at: &Path,
    mount_as: impl FnOnce(&Union) -> Result<()>,
) -> Result<()> {
    let tmpfs = Some("tmpfs");
    mount(tmpfs, at, tmpfs, MsFlags::empty(), Some("mode=700"))
        .step(|| format!("mount(2) tmpfs on {} for short names", at.display()))?;
    chdir(at).step(|| format!("chdir(2) {}", at.display()))?;
    umount2(at, MntFlags::MNT_DETACH)
        .step(|| format!("umount2(2) {} MNT_DETACH", at.display()))?;
    let link = |target: &PathBuf, name: String| {
        symlink(target, &name)
            .untraced(|| format!("symlink(2) {name} to {}", target.display()))?;
        Ok(PathBuf::from(name))
    };
    let lower = union.lower.iter().enumerate();
    let lower: Result<_> =
        lower.map(|(at, path)| link(path, at.to_string())).collect();
    let renamed = Union {
        lower: lower?,
        upper: link(&union.upper, "upper".into())?,
        work: link(&union.work, "work".into())?,
        ..union.clone()
    };
    mount_as(&renamed)?;
    chdir("/").step(|| "chdir(2) /")
}
// ANCHOR_END: short
