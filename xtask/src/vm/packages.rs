//! Packages of the distribution for the VM: downloaded and unpacked once, and not
//! installed on this machine.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::Result;
use common::state::remove_tree;
use common::step::Step;
use provision::apt::Apt;
use provision::room::room;

use super::scratch::Scratch;
use super::{directory, say};

/// The directory with the files of all these packages. `name` is its name below the
/// directory for VMs, and `bytes` is the disk space that it needs.
///
/// # Errors
/// A package cannot be downloaded, or the disk has no room.
pub(super) fn unpacked(
    name: &str,
    packages: &[&str],
    bytes: u64,
) -> Result<PathBuf> {
    let at = directory().join(name);
    let list = at.join("packages");
    let wanted = packages.join("\n");
    let is_there = || fs::read_to_string(&list).is_ok_and(|text| text == wanted);
    let cache = directory().join(format!("new-{name}"));
    fs::create_dir_all(&cache).step(|| format!("mkdir(2) {}", cache.display()))?;
    // One process downloads. The others wait and find the tree.
    let lock_path = cache.join("lock");
    let lock = File::create(&lock_path)
        .step(|| format!("open(2) {}", lock_path.display()))?;
    lock.lock().step(|| format!("flock(2) {}", lock_path.display()))?;
    if is_there() {
        return Ok(at);
    }
    room(&cache, bytes, &format!("the packages for {name}"))?;
    let scratch = Scratch::new(&cache)?;
    let path = env::var_os("PATH").unwrap_or_default();
    let apt = Apt::new(&path, &scratch.path().join("apt"), &say)?;
    let new = scratch.path().join("tree");
    for package in packages {
        apt.unpack(&apt.download(package)?, &new)?;
    }
    fs::write(new.join("packages"), wanted).step(|| "write(2) packages")?;
    if at.exists() {
        remove_tree(&at)?;
    }
    fs::rename(&new, &at).step(|| format!("rename(2) to {}", at.display()))?;
    Ok(at)
}
