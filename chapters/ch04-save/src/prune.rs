//! `image prune`: what no name with a tag leads to.

use std::fs::{self, File};

use anyhow::Result;
use ch04_image::{Listed, Store};
use common::images::remove_if_there;
use common::state::Record;

// ANCHOR: prune
/// Remove images that have no tag, or with `all`, every image, unless a container uses
/// it; and downloads that no pull is writing. The names or IDs of the removed images.
///
/// # Errors
/// A record cannot be read; those of unlink(2) and rmdir(2).
pub fn prune(store: &Store, all: bool) -> Result<Vec<String>> {
    let layout = store.layout();
    let _change = layout.change()?;
    let containers = Record::all(store.state())?;
    let mut removed = Vec::new();
    for listed in store.images()? {
        let listed = listed?;
        let Listed { image, names } = &listed;
        let used = containers.iter().any(|it| it.image_id == image.id.as_str());
        let tagged = names.iter().any(|name| name.tag.is_some());
        if used || (tagged && !all) {
            continue;
        }
        removed.extend(listed.short_names());
        for name in names {
            layout.remove_name(name)?;
        }
    }
    layout.write_index()?;
    for entry in fs::read_dir(layout.downloads()).into_iter().flatten().flatten() {
        let path = entry.path();
        if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            remove_if_there(&path)?;
        }
    }
    store.sweep()?;
    Ok(removed)
}
// ANCHOR_END: prune
