//! Keeping controllers enabled in the root group of cgroup v2, which systemd manages.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;
use common::step::Step;

use crate::directory::{PREFIX, enable};

/// An empty group in the root group. The kernel refuses to disable a controller in a
/// group while a child of this group enables it for its own children.
const KEEPER: &str = "mydocker.keep";

/// The directory that exists if systemd is process 1.
///
/// # Source
/// sd_booted(3)
const BOOTED: &str = "/run/systemd/system";

// ANCHOR: keep
/// Keep these controllers enabled in the root group `top` of cgroup v2.
///
/// systemd disables the controllers that none of its units needs, for example when it
/// reloads its units. Without this function, the limits of our groups would then be
/// gone, without an error.
///
/// # Errors
/// mkdir(2) or write(2) fails.
/// # Source
/// cgroup-v2.rst, "Enabling and Disabling" and "Top-down Constraint"
pub(crate) fn keep(top: &Path, controllers: &[String]) -> Result<()> {
    if controllers.is_empty() || !Path::new(BOOTED).is_dir() {
        return Ok(());
    }
    let _lock = lock(top)?;
    let keeper = top.join(KEEPER);
    if let Err(error) = fs::create_dir(&keeper)
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error).step(|| format!("mkdir(2) {}", keeper.display()));
    }
    // systemd may have disabled a controller since the caller enabled it.
    for _ in 0..ATTEMPTS {
        enable(top, controllers)?;
        if enable(&keeper, controllers).is_ok() {
            return Ok(());
        }
    }
    enable(&keeper, controllers)
}

/// Let systemd disable controllers again, if no group of ours is left in `top`.
pub fn release(top: &Path) {
    let keeper = top.join(KEEPER);
    if !keeper.is_dir() {
        return;
    }
    // An error leaves an empty group, and the next container removes it.
    let Ok(_lock) = lock(top) else { return };
    let mut entries = fs::read_dir(top).into_iter().flatten().flatten();
    let is_ours = |name: &str| name.starts_with(PREFIX);
    if !entries.any(|entry| entry.file_name().to_str().is_some_and(is_ours)) {
        let _ = fs::remove_dir(keeper);
    }
}
// ANCHOR_END: keep

/// How often the controllers are enabled at most.
const ATTEMPTS: u32 = 10;

/// Exclude other processes from [`keep`] and [`release`]. The caller of `keep` creates
/// its group first: then `release` sees it, or has removed the keeper already.
fn lock(top: &Path) -> Result<File> {
    let directory = File::open(top).step(|| format!("open(2) {}", top.display()))?;
    directory.lock().step(|| format!("flock(2) {}", top.display()))?;
    Ok(directory)
}
