//! The identity of a container, and its own directory.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::Result;

use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::state::directory::State;
use crate::state::id::Id;
use crate::state::name::Name;
use crate::state::spread::spread;
use crate::state::tree::remove_tree;

/// ID, name and state directory of a container.
///
/// This is only a value: most containers of chapters 2 and 3 have no files.
#[derive(Clone, Debug)]
pub struct Home {
    /// The ID.
    pub id: Id,
    /// The name, if the user gave one.
    pub name: Option<Name>,
    /// The state directory.
    pub state: State,
}

impl Home {
    /// The container's own directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.state.containers().join(self.id.as_str())
    }

    /// Create the directory. The caller must hold the lock.
    ///
    /// # Errors
    /// mkdir(2) fails.
    pub(crate) fn make_dir(&self) -> Result<()> {
        let dir = self.dir();
        // Only the owner may read it: setuid programs in the upper directory must
        // not be reachable by other users of the host.
        let make = || fs::DirBuilder::new().mode(0o700).create(&dir);
        let made = match make() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                spread(&self.state.make(self.state.containers())?);
                make()
            }
            made => made,
        };
        made.step(|| format!("mkdir(2) {}", dir.display())).hint(hints::state)
    }

    /// Remove the directory.
    ///
    /// # Errors
    /// unlink(2) or rmdir(2) fails.
    pub(crate) fn remove_dir(&self) -> Result<()> {
        remove_tree(&self.dir())
    }
}
