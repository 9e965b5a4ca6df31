//! Adding an image to the store.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use common::hints;
use common::images::{Image, Reference, sync};
use common::step::{self, Hint, Step};

use crate::Store;

impl Store {
    /// Make sure that everything that was written so far is on the disk.
    ///
    /// # Errors
    /// open(2) or syncfs(2) fails.
    pub fn sync(&self) -> Result<()> {
        let layers = self.state().layers();
        let handle = File::open(&layers)
            .untraced(|| format!("open(2) {}", layers.display()))?;
        nix::unistd::syncfs(&handle)
            .step(|| format!("syncfs(2) {}", layers.display()))
            .hint(hints::state)
    }

    /// Move a layer to its final directory, whose name is the layer's chain ID. The
    /// layer must be complete and on the disk. The caller holds the exclusive lock.
    ///
    /// # Errors
    /// rename(2) or fsync(2) fails.
    pub fn place_layer(&self, from: &Path, chain_id: &str) -> Result<()> {
        let layers = self.state().layers();
        let target = layers.join(chain_id);
        // A directory with the same chain ID already contains the same layer.
        if !target.is_dir() {
            fs::rename(from, &target)
                .step(|| format!("rename(2) to {}", target.display()))?;
        }
        sync(&layers)
    }

    /// Write an image's record, and give the image these names. Its blobs and its
    /// layers must be on the disk. The caller holds the exclusive lock. If a name
    /// belonged to another image before, a note on standard error says so.
    ///
    /// # Errors
    /// write(2), fsync(2), symlink(2) or rename(2) fails.
    pub fn add(&self, image: &Image, names: &[Reference]) -> Result<()> {
        image.save(self.state())?;
        for name in names {
            let before = Image::find(self.state(), name).ok().flatten();
            self.name(name, &image.id)?;
            if let Some(before) = before.filter(|before| before.id != image.id) {
                step::note(&format!(
                    "{}: image {} replaces image {}",
                    name.short(),
                    image.id.short(),
                    before.id.short()
                ));
            }
        }
        Ok(())
    }
}
