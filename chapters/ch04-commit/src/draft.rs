//! A layer that is being made: written to the disk first, named last.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::Result;
use ch04_image::{DRAFT, Store};
use common::hints;
use common::images::Image;
use common::state::{Id, remove_tree};
use common::step::{Hint, Step};

/// A directory that becomes a layer when it is published, and is removed otherwise.
#[derive(Debug)]
pub struct Draft {
    /// The directory to fill.
    pub path: PathBuf,
    /// Held as long as the process that makes the layer lives.
    lock: Option<File>,
    id: Id,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // The user must read why it was not finished.
            let _ = remove_tree(&self.path);
        }
    }
}

// ANCHOR: draft
impl Draft {
    /// Begin a layer, after a sweep of the store.
    ///
    /// # Errors
    /// Those of flock(2), mkdir(2) and open(2).
    pub fn begin(store: &Store) -> Result<Draft> {
        let _change = store.change()?;
        store.sweep()?;
        let id = Id::new()?;
        let path = store.state().layers().join(format!("{DRAFT}{id}"));
        ch02_union::make_directory(&path).hint(hints::state)?;
        let lock =
            File::open(&path).look(|| format!("open(2) {}", path.display()))?;
        lock.lock().look(|| format!("flock(2) {}", path.display()))?;
        Ok(Draft { path, lock: Some(lock), id })
    }

    /// The draft becomes the topmost layer of an image.
    ///
    /// # Errors
    /// Those of syncfs(2), rename(2) and fsync(2). No image is made then.
    pub fn publish(mut self, store: &Store, mut image: Image) -> Result<Image> {
        let layers = store.state().layers();
        let handle =
            File::open(&layers).look(|| format!("open(2) {}", layers.display()))?;
        // Everything that was written is on the disk before a name leads to it.
        nix::unistd::syncfs(&handle)
            .step(|| format!("syncfs(2) {}", layers.display()))
            .hint(hints::state)?;
        let _change = store.change()?;
        let target = layers.join(self.id.as_str());
        fs::rename(&self.path, &target)
            .step(|| format!("rename(2) to {}", target.display()))?;
        self.path = target;
        handle.sync_all().step(|| format!("fsync(2) {}", layers.display()))?;
        image.layers.insert(0, self.id.to_string());
        // From here on the record may lead to it, whatever comes next.
        self.lock = None;
        let saved = image.save(store.state());
        // The layers that the name meant before may be unused now; or this layer, if the
        // record was not saved. An error of the save is told before one of the sweep.
        let _ = store.sweep();
        saved.map(|()| image)
    }
}
// ANCHOR_END: draft
