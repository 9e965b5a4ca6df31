//! Claiming the lock, the name and the directory of a new container.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cli::step::Step;
use crate::state::home::Home;
use crate::state::id::Id;
use crate::state::lock::Lock;
use crate::state::name::Name;
use crate::state::notes::NAME;
use crate::state::sweep::sweep_holder;
use crate::state::undo::Table;

impl Home {
    /// Take the lock and the name, and create the directory. If a dead container
    /// owns the name, it is swept first, with the undo functions of the table.
    ///
    /// # Errors
    /// The name is already in use; open(2), flock(2) or mkdir(2) fails.
    pub fn claim(&self, table: Table) -> Result<Lock> {
        let lock = self.lock()?;
        if let Some(name) = &self.name {
            self.note(NAME, name.as_str().as_bytes())?;
            take(self, name, table)?;
        }
        self.make_dir()?;
        Ok(lock)
    }
}

/// Take a name. If several processes call symlink(2), exactly one succeeds. A dead
/// owner is swept first, with the undo functions of the table.
///
/// # Errors
/// The name is already in use; symlink(2) fails.
fn take(home: &Home, name: &Name, table: Table) -> Result<()> {
    let names = home.state.make(home.state.names())?;
    let link = names.join(name.as_str());
    let mut swept: Option<PathBuf> = None;
    loop {
        match symlink(home.id.as_str(), &link) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.step(|| format!("symlink(2) {}", link.display())),
        }
        let owner = match fs::read_link(&link) {
            // The owner released the name meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            owner => owner.unwrap_or_default(),
        };
        let id: Option<Id> = owner.to_str().and_then(|id| id.parse().ok());
        // Sweep each owner only once: an owner that cannot be swept keeps the name.
        if let Some(id) = id
            && swept.as_ref() != Some(&owner)
        {
            let holder = Home { id, name: None, state: home.state.clone() };
            sweep_holder(holder, table);
            swept = Some(owner);
            continue;
        }
        if home.state.remove_stale(name)? {
            continue;
        }
        bail!(
            "the name {name} is already in use by container {}: choose another --name, \
             or remove that container",
            owner.display()
        )
    }
}
