//! Names in the state directory: a symlink from each name to a container ID.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cli::step::Step;
use crate::state::directory::State;
use crate::state::home::Home;
use crate::state::id::Id;
use crate::state::name::Name;
use crate::state::tree::{ignore_missing, remove_tree};

impl State {
    /// The owner of a name: the target of the symlink. `None` if the name is free.
    ///
    /// # Errors
    /// readlink(2) fails.
    pub fn named(&self, name: &Name) -> Result<Option<PathBuf>> {
        let link = self.names().join(name.as_str());
        match fs::read_link(&link) {
            Err(e) if no_link(&e) => Ok(None),
            owner => owner
                .untraced(|| format!("readlink(2) {}", link.display()))
                .map(Some),
        }
    }
}

impl State {
    /// The name whose symlink refers to this container, if there is one.
    ///
    /// # Errors
    /// readdir(3) fails.
    pub fn name_of(&self, id: &Id) -> Result<Option<Name>> {
        let leads = |name: &Name| {
            let owner = fs::read_link(self.names().join(name.as_str()));
            owner.is_ok_and(|owner| owner.as_os_str() == id.as_str())
        };
        Ok(self.all_names()?.into_iter().find(leads))
    }

    fn all_names(&self) -> Result<Vec<Name>> {
        names_in(&self.names())
    }

    /// The names of all networks that have a directory, sorted. If a creation was
    /// killed, the directory may have no record.
    ///
    /// # Errors
    /// readdir(3) fails.
    pub fn network_names(&self) -> Result<Vec<Name>> {
        let mut names = names_in(&self.networks())?;
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        Ok(names)
    }

    /// The names whose symlinks refer to no container.
    ///
    /// # Errors
    /// readdir(3) fails.
    pub fn stale_names(&self) -> Result<Vec<Name>> {
        let names = self.all_names()?.into_iter();
        Ok(names.filter(|name| self.is_stale(name)).collect())
    }

    /// Remove a name if its symlink refers to no container. Returns whether it was
    /// removed.
    ///
    /// # Errors
    /// open(2), flock(2) or unlink(2) fails.
    pub fn remove_stale(&self, name: &Name) -> Result<bool> {
        if !self.is_stale(name) {
            return Ok(false);
        }
        // Check again under the lock: meanwhile, another process may have given the
        // name to a new container.
        let directory = self.names();
        let handle = File::open(&directory)
            .untraced(|| format!("open(2) {}", directory.display()))?;
        handle.lock().untraced(|| format!("flock(2) {}", directory.display()))?;
        let stale = self.is_stale(name);
        if stale {
            remove_tree(&directory.join(name.as_str()))?;
        }
        Ok(stale)
    }

    /// Whether a file with this name exists and refers to no container. A new
    /// container gets its lock file before its name. A container that is removed
    /// loses its name before its lock file.
    fn is_stale(&self, name: &Name) -> bool {
        let link = self.names().join(name.as_str());
        let owner = match fs::read_link(&link) {
            Err(e) => return e.kind() == io::ErrorKind::InvalidInput,
            Ok(owner) => owner,
        };
        let id: Option<Id> = owner.to_str().and_then(|id| id.parse().ok());
        let Some(id) = id else { return true };
        let missing = |path: PathBuf| path.try_exists().is_ok_and(|is| !is);
        missing(self.running().join(id.as_str()))
            && missing(self.containers().join(id.as_str()))
    }
}

/// The entries of a directory that are valid names; none if the directory is missing.
fn names_in(directory: &Path) -> Result<Vec<Name>> {
    let step = || format!("readdir(3) {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.untraced(step)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.untraced(step)?.file_name();
        names.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    Ok(names)
}

/// Release the name, if the container still owns it.
///
/// # Errors
/// readlink(2) or unlink(2) fails.
pub(crate) fn release_name(home: &Home) -> Result<()> {
    let Some(name) = &home.name else { return Ok(()) };
    let owner = home.state.named(name)?;
    if owner.is_some_and(|id| id.as_os_str() == home.id.as_str()) {
        let link = home.state.names().join(name.as_str());
        ignore_missing(fs::remove_file(&link))
            .step(|| format!("unlink(2) {}", link.display()))?;
    }
    Ok(())
}

/// Whether the error means that the path does not exist or is not a symlink.
fn no_link(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}
