//! A layer that is being created.

use std::path::PathBuf;

use anyhow::Result;
use ch04_image::{DRAFT, Store};
use common::hints;
use common::images::LockGuard;
use common::state::{Id, remove_tree};
use common::step::Hint;

/// A directory that becomes a layer. It is removed if it does not become one.
#[derive(Debug)]
pub struct Draft {
    /// The directory to fill.
    pub path: PathBuf,
    /// While the process lives, no sweep removes the directory or the layer's blob.
    _lease: LockGuard,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a success, the directory has another name. After a failure, the
        // first error is the one to report.
        let _ = remove_tree(&self.path);
    }
}

impl Draft {
    /// Begin a layer, after a sweep of the store.
    ///
    /// # Errors
    /// An errno of flock(2), mkdir(2) or open(2).
    pub fn begin(store: &Store) -> Result<Draft> {
        let _lock = store.layout().lock_exclusive()?;
        store.sweep()?;
        let lease = store.layout().lease()?;
        let name = format!("{DRAFT}{}", Id::new()?);
        let path = store.state().layers().join(name);
        ch02_union::make_directory(&path).hint(hints::state)?;
        Ok(Draft { path, _lease: lease })
    }
}
