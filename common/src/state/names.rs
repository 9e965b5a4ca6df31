//! Names in the state directory: a symlink from each name to a container ID.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Result;

use crate::cli::step::Step;
use crate::state::directory::State;
use crate::state::home::Home;
use crate::state::name::Name;
use crate::state::tree::gone;

impl State {
    /// The owner of a name: the target of the symlink. `None` if the name is free.
    ///
    /// # Errors
    /// readlink(2) fails.
    pub fn named(&self, name: &Name) -> Result<Option<PathBuf>> {
        let link = self.names().join(name.as_str());
        match fs::read_link(&link) {
            Err(e) if no_link(&e) => Ok(None),
            owner => {
                owner.look(|| format!("readlink(2) {}", link.display())).map(Some)
            }
        }
    }
}

/// Release the name, if the container still owns it.
///
/// # Errors
/// readlink(2) or unlink(2) fails.
pub(crate) fn give_back(home: &Home) -> Result<()> {
    let Some(name) = &home.name else { return Ok(()) };
    let owner = home.state.named(name)?;
    if owner.is_some_and(|id| id.as_os_str() == home.id.as_str()) {
        let link = home.state.names().join(name.as_str());
        gone(fs::remove_file(&link))
            .step(|| format!("unlink(2) {}", link.display()))?;
    }
    Ok(())
}

/// Whether the error means that the path does not exist or is not a symlink.
fn no_link(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}
