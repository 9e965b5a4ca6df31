//! The sweep of the store: each change ends with the removal of files that nothing
//! uses.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use common::images::{Digest, Image, remove_if_there, sync};
use common::state::fields::may_be_whole;
use common::state::record::{self, Record};
use common::state::{Home, Status, remove_tree};

use crate::Store;
use crate::directory::names;

/// The prefix of the directory of a layer that is still being written, for example by a
/// commit or an import.
pub const DRAFT: &str = ".layer-";

/// The records, blobs and layers that images and containers use.
#[derive(Default)]
struct Used {
    records: BTreeSet<String>,
    blobs: BTreeSet<String>,
    layers: BTreeSet<String>,
}

impl Store {
    /// Take the exclusive lock, and remove the files that nothing uses, as
    /// [`Store::sweep`].
    ///
    /// # Errors
    /// flock(2), unlink(2) or rmdir(2) fails.
    pub fn lock_and_sweep(&self) -> Result<()> {
        let _lock = self.layout().lock_exclusive()?;
        self.sweep()
    }

    // ANCHOR: sweep
    /// Remove the files that nothing uses: unfinished files; images that have no
    /// name and no container; the blobs and layers of these images; and the files of
    /// a container whose removal was killed. The caller holds the exclusive lock.
    ///
    /// # Errors
    /// unlink(2) or rmdir(2) fails.
    pub fn sweep(&self) -> Result<()> {
        // While another process makes an image, a file that nothing uses may belong to
        // that image.
        if let Some(_sole) = self.layout().try_exclusive_lease()? {
            self.remove_unfinished()?;
            // If a record cannot be read, the files that it uses are not known.
            if let Ok(used) = self.used() {
                self.remove_unused(&used)?;
            }
        }
        self.remove_containers_without_record()
    }

    fn remove_unused(&self, used: &Used) -> Result<()> {
        let layout = self.layout();
        let records = layout.records();
        let unused = |kept: &BTreeSet<String>, at: &Path| {
            names(at).filter(|name| !kept.contains(name)).collect::<Vec<_>>()
        };
        for name in unused(&used.records, &records) {
            remove_if_there(&records.join(name))?;
            // The removal of the record must reach the disk before the removal of its
            // layers: a record must never list a layer that is missing.
            sync(&records)?;
        }
        for name in unused(&used.blobs, &layout.blobs()) {
            remove_if_there(&layout.blobs().join(name))?;
        }
        let layers = self.state().layers();
        for name in unused(&used.layers, &layers) {
            // A download of busybox writes to a directory whose name begins with a dot.
            if !name.starts_with('.') {
                remove_tree(&layers.join(name))?;
            }
        }
        Ok(())
    }
    // ANCHOR_END: sweep

    /// The records, blobs and layers of the images that have a name or a container, and
    /// the layers of all containers.
    fn used(&self) -> Result<Used> {
        let mut used = Used::default();
        let (containers, damaged) = Record::all(self.state())?;
        for (id, error) in damaged {
            let home = Home { id, name: None, state: self.state().clone() };
            // A container that has ended cannot be started again, so the files that its
            // damaged record lists are not needed.
            if may_be_whole(&error) || Status::by_lock(&home)?.is_held() {
                return Err(error);
            }
        }
        let named = self.layout().all_names()?.into_values();
        let running = containers.iter().filter_map(|it| it.image_id.parse().ok());
        let ids: BTreeSet<Digest> = named.chain(running).collect();
        for id in ids {
            let Some(image) = Image::by_id(self.state(), &id)? else { continue };
            used.records.insert(id.hex().to_owned());
            let blobs = image.blobs.iter().chain([&id, &image.manifest]);
            used.blobs.extend(blobs.map(|blob| blob.hex().to_owned()));
            used.layers.extend(image.layers);
        }
        used.layers.extend(containers.into_iter().flat_map(|it| it.layers));
        Ok(used)
    }

    fn remove_unfinished(&self) -> Result<()> {
        let layout = self.layout();
        let images = self.state().images();
        for directory in [images, layout.names(), layout.records(), layout.blobs()] {
            for name in names(&directory) {
                if name.starts_with('.') && name.ends_with(".new") {
                    remove_if_there(&directory.join(name))?;
                }
            }
        }
        let layers = self.state().layers();
        for name in names(&layers).filter(|name| name.starts_with(DRAFT)) {
            remove_tree(&layers.join(name))?;
        }
        Ok(())
    }

    fn remove_containers_without_record(&self) -> Result<()> {
        for id in names(&self.state().containers()) {
            // The lock file is created before the directory, and removed after it.
            // So a directory that has neither a record nor a lock file was left by a
            // removal that was killed.
            let directory = self.state().containers().join(&id);
            let lock = self.state().running().join(&id);
            if record::is_missing(&directory)
                && lock.try_exists().is_ok_and(|is| !is)
            {
                remove_tree(&directory)?;
            }
        }
        Ok(())
    }
}
