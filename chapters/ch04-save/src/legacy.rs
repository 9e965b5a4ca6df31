//! `manifest.json`: the list of images in an archive of `docker save`.

use std::fmt;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The name of the list.
pub(crate) const FILE: &str = "manifest.json";

/// One image.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry {
    /// The file with the configuration.
    pub(crate) config: String,
    /// The names.
    pub(crate) repo_tags: Option<Vec<String>>,
    /// The files with the layers, the lowest first.
    pub(crate) layers: Vec<String>,
}

impl Entry {
    /// All images of a list.
    pub(crate) fn read(text: &[u8]) -> Result<Vec<Entry>> {
        serde_json::from_slice(text).with_context(|| format!("read {FILE}"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.config)
    }
}
