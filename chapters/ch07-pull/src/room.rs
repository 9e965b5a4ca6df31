//! Checking the free space on the disk before a download.

use anyhow::{Context, Result, bail};
use common::state::State;
use common::step::Step;
use oci::{Blobs, Descriptor};
use rustix::fs::statvfs;

/// Check that the disk has enough free space for the blobs that are missing.
///
/// # Errors
/// There is not enough free space; statvfs(3) fails.
pub(crate) fn check(
    state: &State,
    blobs: &Blobs,
    wanted: &[Descriptor],
) -> Result<()> {
    let missing = wanted.iter().filter(|blob| !blobs.has(&blob.digest, blob.size));
    let mut sizes = missing.map(|blob| blob.size);
    let needed = sizes.try_fold(0, |sum: u64, size| sum.checked_add(size));
    let needed = needed.context("the sizes of the layers are too large")?;
    let root = state.root();
    let disk =
        statvfs(root).untraced(|| format!("statvfs(3) {}", root.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if needed > free {
        bail!(
            "the layers have {needed} bytes, but {} has only {free} bytes free: remove \
             images with `rmi` and downloads with `image prune`",
            root.display()
        );
    }
    Ok(())
}
