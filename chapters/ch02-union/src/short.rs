//! Many layers, and one page of options for their names.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::step::Step;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::chdir;

use crate::union::Union;

/// mount(2) copies a page of options, the last byte of which it makes a zero. What
/// is longer is cut off without a word.
pub(crate) const PAGE: usize = 4096;

// ANCHOR: short
/// Call `mount_as` with a union whose directories have names of a few bytes, good
/// from the working directory that they are in.
///
/// They are symlinks in a tmpfs that nobody else sees: it is mounted where the
/// union will be, entered, and taken out of the tree again. What keeps it is that
/// this process stands in it.
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
            .look(|| format!("symlink(2) {name} to {}", target.display()))?;
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
