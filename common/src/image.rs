//! Images: a name for a stack of layers.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::hints;
use crate::state::State;
use crate::step::{Hint, Step};

/// An image: a name for a stack of read-only layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What the user calls it, `busybox`.
    pub name: String,
    /// Names of directories in `layers/`, the topmost first, as overlay's
    /// `lowerdir` wants them.
    pub layers: Vec<String>,
    /// Where it was got from, for the reader.
    pub source: String,
    /// Of the file that it was made from, in lower-case hexadecimal.
    pub sha256: String,
}

impl Image {
    /// Read an image's record; `None` when there is no such image.
    ///
    /// # Errors
    /// A record that can't be read or isn't one.
    pub fn find(state: &State, name: &str) -> Result<Option<Image>> {
        let path = state.images().join(format!("{name}.json"));
        let text = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.look(|| format!("read(2) {}", path.display()))?,
        };
        let image = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not an image record", path.display()))?;
        Ok(Some(image))
    }

    /// Write the record, so that after a power failure there is this one or the
    /// one before.
    ///
    /// # Errors
    /// Those of write(2), fsync(2) and rename(2).
    pub fn save(&self, state: &State) -> Result<()> {
        let images = state.images();
        let path = images.join(format!("{}.json", self.name));
        let new = images.join(format!(".{}.new", self.name));
        let step = || format!("write {}", path.display());
        let mut file = File::create(&new).step(step).hint(hints::state)?;
        serde_json::to_writer_pretty(&mut file, self).context("image record")?;
        file.sync_all().step(step).hint(hints::state)?;
        fs::rename(&new, &path).step(step)?;
        File::open(&images).and_then(|directory| directory.sync_all()).step(step)
    }

    /// The layers' directories, the topmost first.
    #[must_use]
    pub fn directories(&self, state: &State) -> Vec<PathBuf> {
        self.layers.iter().map(|layer| state.layers().join(layer)).collect()
    }
}
