//! `image prune`: remove images without a tag, and interrupted downloads.

use std::fs::{self, File};

use anyhow::Result;
use ch04_image::{Damaged, Store};
use common::images::remove_if_there;
use common::state::Record;
use common::state::fields::{is_newer, may_be_whole};

// ANCHOR: prune
/// Remove the images that have no tag. With `all`, remove every image. An image that a
/// container uses is kept. Downloads that no pull is writing are removed, too. Returns
/// the names or IDs of the removed images.
///
/// # Errors
/// A record cannot be read; unlink(2) or rmdir(2) fails.
pub fn prune(store: &Store, all: bool) -> Result<Vec<String>> {
    let layout = store.layout();
    let _lock = layout.lock_exclusive()?;
    let (containers, damaged) = Record::all(store.state())?;
    // It is not known which image a container with a damaged record uses.
    if let Some((_, error)) = damaged.into_iter().find(|(_, it)| may_be_whole(it)) {
        return Err(error);
    }
    let mut removed = Vec::new();
    for listed in store.images()? {
        let (id, names, shown, damaged) = match listed {
            Err(damaged) if is_newer(&damaged.error) => continue,
            Err(damaged) if may_be_whole(&damaged.error) => {
                return Err(damaged.error);
            }
            Err(Damaged { id, names, .. }) => {
                let shown = vec![id.short().to_owned()];
                (id, names, shown, true)
            }
            Ok(listed) => {
                let shown = listed.short_names();
                (listed.image.id, listed.names, shown, false)
            }
        };
        let used = containers.iter().any(|it| it.image_id == id.as_str());
        let tagged = names.iter().any(|name| name.tag.is_some());
        if used || (tagged && !all && !damaged) {
            continue;
        }
        removed.extend(shown);
        for name in &names {
            layout.remove_name(name)?;
        }
    }
    for stray in layout.strays()? {
        stray.remove()?;
        removed.push(stray.name());
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
