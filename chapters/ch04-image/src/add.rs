//! How an image gets into the store.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use common::hints;
use common::images::{Image, Reference, sync};
use common::step::{self, Hint, Step};

use crate::Store;

impl Store {
    /// Bring everything to the disk that was written so far.
    ///
    /// # Errors
    /// Those of open(2) and syncfs(2).
    pub fn sync(&self) -> Result<()> {
        let layers = self.state().layers();
        let handle =
            File::open(&layers).look(|| format!("open(2) {}", layers.display()))?;
        nix::unistd::syncfs(&handle)
            .step(|| format!("syncfs(2) {}", layers.display()))
            .hint(hints::state)
    }

    /// Give a complete layer, which is on the disk, its chain ID as its name. The caller
    /// holds the exclusive lock.
    ///
    /// # Errors
    /// Those of rename(2) and fsync(2).
    pub fn place_layer(&self, from: &Path, chain_id: &str) -> Result<()> {
        let layers = self.state().layers();
        let target = layers.join(chain_id);
        // The same layers have the same chain ID.
        if !target.is_dir() {
            fs::rename(from, &target)
                .step(|| format!("rename(2) to {}", target.display()))?;
        }
        sync(&layers)
    }

    /// Write an image's record, and let names lead to it. Its blobs and its layers are on
    /// the disk. The caller holds the exclusive lock. If a name led to another image
    /// before, that is reported on standard error.
    ///
    /// # Errors
    /// Those of write(2), fsync(2), symlink(2) and rename(2).
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
