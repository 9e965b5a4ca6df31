//! Images: a name for a stack of layers.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::state::State;

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
            read => read.with_context(|| format!("read {}", path.display()))?,
        };
        let image = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not an image record", path.display()))?;
        Ok(Some(image))
    }

    /// The layers' directories, the topmost first.
    #[must_use]
    pub fn directories(&self, state: &State) -> Vec<PathBuf> {
        self.layers.iter().map(|layer| state.layers().join(layer)).collect()
    }
}
