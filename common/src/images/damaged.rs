//! Files in the directory `images` that do not belong there.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Error, Result, anyhow};

use super::digest::Digest;
use super::layout::{Layout, name_at};
use crate::cli::hints::quoted;
use crate::cli::step::Step;
use crate::state::remove_tree;

/// The names that belong in the directory.
const KNOWN_ENTRIES: [&str; 7] =
    ["oci-layout", "index.json", "blobs", "records", "names", "downloads", "lease"];

/// A file that another program put here, or that was damaged.
#[derive(Debug)]
pub struct Stray {
    path: PathBuf,
    reason: &'static str,
}

impl Layout {
    /// Find the files that do not belong here: unknown files in `images` and in
    /// `records`, and names that lead to no image. A file whose name begins with a
    /// dot is left out, because a process may be writing it.
    ///
    /// # Errors
    /// readdir(3) or readlink(2) fails.
    pub fn strays(&self) -> Result<Vec<Stray>> {
        let images = self.state().images();
        let mut strays = Vec::new();
        for path in entries(images)? {
            if !KNOWN_ENTRIES.iter().any(|own| path.ends_with(own)) {
                strays.push(Stray { path, reason: "is not part of the images" });
            }
        }
        for path in entries(self.names())? {
            // readlink(2) of a symlink, and stat(2) of the record to which it leads.
            if name_at(&path)?.is_none() || path.try_exists().is_ok_and(|is| !is) {
                strays.push(Stray { path, reason: "does not lead to an image" });
            }
        }
        for path in entries(self.records())? {
            let id = path.file_name().and_then(OsStr::to_str).map(Digest::from_hex);
            if !matches!(id, Some(Ok(_))) {
                strays.push(Stray { path, reason: "is not the record of an image" });
            }
        }
        Ok(strays)
    }
}

impl Stray {
    /// The name of the file. `rmi` removes the file by this name.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The warning that a list shows.
    #[must_use]
    pub fn warning(&self) -> Error {
        let Stray { path, reason } = self;
        let name = quoted(&self.name());
        anyhow!(
            "{} {reason} (`rmi {name}` or `image prune` removes it)",
            path.display()
        )
    }

    /// Remove it. The caller holds the exclusive lock.
    ///
    /// # Errors
    /// unlink(2) or rmdir(2) fails.
    pub fn remove(&self) -> Result<()> {
        remove_tree(&self.path)
            .with_context(|| format!("remove {}", self.path.display()))
    }
}

fn entries(directory: PathBuf) -> Result<Vec<PathBuf>> {
    let step = || format!("readdir(3) {}", directory.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(&directory).untraced(step)? {
        let entry = entry.untraced(step)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
