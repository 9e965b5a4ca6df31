//! Disk usage: the space that images, containers and downloads use.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ch04_image::Store;
use ch05_ps::listed;
use common::cli::step::{Step, report, warn};
use common::images::Image;
use common::state::{Record, State};

/// One line of `system df`. Sizes are in bytes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) total: usize,
    /// Images that a container uses; containers that run.
    pub(crate) active: usize,
    pub(crate) size: u64,
    /// The number of bytes that become free if everything that is not active is
    /// removed.
    pub(crate) reclaimable: u64,
}

// ANCHOR: images
/// The images: each layer and each blob counts once, even if several images use it.
pub(crate) fn images(store: &Store) -> Result<Usage> {
    let (containers, _) = Record::all(store.state())?;
    let used: BTreeSet<&str> =
        containers.iter().map(|it| it.image_id.as_str()).collect();
    let mut usage = Usage::default();
    // Each path, and whether an active image uses it.
    let mut paths: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for listed in store.images()? {
        let image = match listed {
            Ok(listed) => listed.image,
            Err(damaged) => {
                warn(&report(&damaged.error));
                continue;
            }
        };
        let active = used.contains(image.id.as_str());
        usage.total += 1;
        usage.active += usize::from(active);
        for path in files(store, &image) {
            *paths.entry(path).or_default() |= active;
        }
    }
    let mut seen = HashSet::new();
    for (path, active) in paths {
        let size = on_disk(&path, &mut seen)?;
        usage.size += size;
        usage.reclaimable += if active { 0 } else { size };
    }
    Ok(usage)
}
// ANCHOR_END: images

/// The unpacked layers of an image, and its blobs.
fn files(store: &Store, image: &Image) -> Vec<PathBuf> {
    let layout = store.layout();
    let own = [&image.id, &image.manifest];
    let blobs = own.into_iter().chain(&image.blobs).map(|it| layout.blob(it));
    let layers = image.directories(store.state());
    blobs.chain(layers).collect()
}

/// The containers: their write layers, logs and records.
pub(crate) fn containers(state: &State) -> Result<Usage> {
    let (all, damaged) = listed(state, true)?;
    damaged.into_iter().for_each(|one| warn(&report(&one.warning())));
    let mut usage = Usage { total: all.len(), ..Usage::default() };
    let mut seen = HashSet::new();
    for one in &all {
        let size = on_disk(&one.record.home(state).dir(), &mut seen)?;
        usage.size += size;
        match one.status.is_held() {
            true => usage.active += 1,
            false => usage.reclaimable += size,
        }
    }
    Ok(usage)
}

/// The files of interrupted downloads, which the next attempt continues.
pub(crate) fn downloads(store: &Store) -> Result<Usage> {
    let directory = store.layout().downloads();
    let total = fs::read_dir(&directory).into_iter().flatten().count();
    let size = on_disk(&directory, &mut HashSet::new())?;
    let size = if total == 0 { 0 } else { size };
    Ok(Usage { total, active: 0, size, reclaimable: size })
}

/// The bytes on the disk of this file, or of this directory and everything below it. A
/// file with several links counts once. A file that is removed in the meantime does not
/// count.
///
/// # Errors
/// readdir(3) or lstat(2) fails with another error than ENOENT.
fn on_disk(path: &Path, seen: &mut HashSet<(u64, u64)>) -> Result<u64> {
    let gone = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
    let about = match fs::symlink_metadata(path) {
        Err(error) if gone(&error) => return Ok(0),
        about => about.untraced(|| format!("lstat(2) {}", path.display()))?,
    };
    let mut bytes = blocks(&about, seen);
    if about.is_dir() {
        let step = || format!("readdir(3) {}", path.display());
        let entries = match fs::read_dir(path) {
            Err(error) if gone(&error) => return Ok(bytes),
            entries => entries.untraced(step)?,
        };
        for entry in entries {
            bytes += on_disk(&entry.untraced(step)?.path(), seen)?;
        }
    }
    Ok(bytes)
}

/// # Source
/// inode(7), "st_blocks": in units of 512 bytes
fn blocks(about: &Metadata, seen: &mut HashSet<(u64, u64)>) -> u64 {
    let once = about.nlink() < 2
        || about.is_dir()
        || seen.insert((about.dev(), about.ino()));
    if once { about.blocks() * 512 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_links_counts_once_and_a_hole_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let empty = on_disk(dir.path(), &mut HashSet::new()).unwrap();
        fs::write(at("one"), vec![1; 100_000]).unwrap();
        fs::hard_link(at("one"), at("two")).unwrap();
        fs::File::create(at("hole")).unwrap().set_len(1 << 30).unwrap();
        let full = on_disk(dir.path(), &mut HashSet::new()).unwrap();
        assert!((100_000..200_000).contains(&(full - empty)), "{empty} {full}");
        assert_eq!(on_disk(&at("none"), &mut HashSet::new()).unwrap(), 0);
    }
}
