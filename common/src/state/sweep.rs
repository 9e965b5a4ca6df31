//! Sweeping containers whose supervisor was killed: their lock files are not locked.
//!
//! A start examines at most two lock files, chosen at random, and the owner of each
//! name that it claims. It therefore opens at most two lock files for any number of
//! running containers. `rm`, `rmi` and `prune` examine all lock files.

use std::fs;
use std::io;

use anyhow::{Context, Result};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::cli::step::{self, Step};
use crate::process::exit::Exit;
use crate::state::directory::State;
use crate::state::home::Home;
use crate::state::id::Id;
use crate::state::lock::{Lock, take_over};
use crate::state::names::release_name;
use crate::state::notes::Notes;
use crate::state::record;
use crate::state::undo::{Table, knows, rows, undo};

/// The number of lock files that a start examines.
const SAMPLE: usize = 2;

/// A container whose supervisor is dead. Its lock prevents other processes from
/// sweeping it at the same time.
#[derive(Debug)]
pub struct Dead {
    /// The identity of the container.
    pub home: Home,
    notes: Notes,
    _lock: Lock,
}

impl State {
    /// The IDs of all containers that have a lock file.
    ///
    /// # Errors
    /// readdir(3) fails.
    pub fn locked_ids(&self) -> Result<Vec<Id>> {
        ids(&self.running())
    }

    /// The IDs of all containers that have a directory.
    ///
    /// # Errors
    /// readdir(3) fails.
    pub fn kept_ids(&self) -> Result<Vec<Id>> {
        ids(&self.containers())
    }

    /// All containers whose supervisor is dead.
    ///
    /// # Errors
    /// readdir(3), open(2) or flock(2) fails.
    pub fn dead(&self) -> Result<Vec<Dead>> {
        let found = self.locked_ids()?.into_iter().map(|id| self.examine(id));
        found.filter_map(Result::transpose).collect()
    }

    /// Sweep all dead containers whose notes this table can undo. Failures are
    /// printed as warnings, and a later command tries again.
    ///
    /// # Errors
    /// readdir(3), open(2) or flock(2) fails.
    pub fn sweep_dead(&self, table: Table) -> Result<()> {
        self.dead()?.iter().for_each(|dead| sweep_quietly(dead, table));
        Ok(())
    }

    // ANCHOR: sample
    /// Choose at most two containers at random, and return the dead ones.
    ///
    /// # Errors
    /// readdir(3), open(2), flock(2) or getrandom(2) fails.
    pub(crate) fn sample_dead(&self) -> Result<Vec<Dead>> {
        let mut ids = self.locked_ids()?;
        let mut dead = Vec::new();
        for _ in 0..SAMPLE.min(ids.len()) {
            let id = ids.swap_remove(random_below(ids.len())?);
            dead.extend(self.examine(id)?);
        }
        Ok(dead)
    }
    // ANCHOR_END: sample

    fn examine(&self, id: Id) -> Result<Option<Dead>> {
        Dead::find(Home { id, name: None, state: self.clone() })
    }
}

impl Dead {
    fn find(mut home: Home) -> Result<Option<Dead>> {
        let Some((lock, notes)) = take_over(&home)? else { return Ok(None) };
        home.name = notes.name();
        Ok(Some(Dead { home, notes, _lock: lock }))
    }

    /// Whether a binary with this table can sweep the container.
    #[must_use]
    pub fn is_known(&self, table: Table) -> bool {
        knows(&self.notes, table)
    }

    /// Check that a binary with this table can sweep the container.
    ///
    /// # Errors
    /// The notes have another format, or a kind is unknown. The error names the
    /// command that can remove the container.
    pub fn check(&self, table: Table) -> Result<()> {
        rows(&self.home, &self.notes, table).map(drop)
    }

    // ANCHOR: sweep
    /// Undo the resources that the notes name. If the files have the lifetime "until
    /// removed", they stay, and the end is recorded as [`Exit::Unseen`]. Otherwise
    /// the container is removed.
    ///
    /// # Errors
    /// An undo function fails (see `undo` in undo.rs), or the removal fails. The
    /// lock file then stays, so that a later command tries again.
    pub fn sweep(&self, table: Table) -> Result<()> {
        let home = &self.home;
        undo(home, &self.notes, table)?;
        if self.notes.is_kept() {
            record::write_end(home, Exit::Unseen)?;
            return home.release();
        }
        remove_files(home)
    }
    // ANCHOR_END: sweep
}

/// Remove all files of a container. The record is removed first, so that other
/// processes never see an incomplete container. Then the name, the directory and the
/// lock file are removed, in this order.
///
/// # Errors
/// unlink(2) or rmdir(2) fails.
pub(crate) fn remove_files(home: &Home) -> Result<()> {
    record::forget(home)?;
    release_name(home)?;
    home.remove_dir()?;
    home.release()
}

/// Sweep a container that owns a resource, such as a name, that this process needs.
/// The container keeps the resource if its supervisor is alive or the sweep fails.
pub fn sweep_holder(home: Home, table: Table) {
    if let Ok(Some(dead)) = Dead::find(home) {
        sweep_quietly(&dead, table);
    }
}

/// Sweep before a start. A start must not fail because of another container. A
/// container with unknown notes is left alone; a failed clean-up is printed as a
/// warning.
pub(crate) fn sweep_quietly(dead: &Dead, table: Table) {
    if !dead.is_known(table) {
        return;
    }
    let swept = dead.sweep(table);
    if let Err(error) =
        swept.with_context(|| format!("sweep container {}", dead.home.id))
    {
        let text = step::report(&error);
        step::warn(&format!("{text}\nhint: `prune` or a later run tries again"));
    }
}

/// A random number below `limit`.
fn random_below(limit: usize) -> Result<usize> {
    let mut bytes = [0; 4];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .untraced(|| "getrandom(2) to choose a container")?;
    Ok(u32::from_ne_bytes(bytes) as usize % limit)
}

/// The container IDs among the entries of a directory; empty if the directory does
/// not exist.
///
/// # Errors
/// readdir(3) fails.
pub(crate) fn ids(directory: &std::path::Path) -> Result<Vec<Id>> {
    let step = || format!("readdir(3) {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.untraced(step)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.untraced(step)?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    Ok(found)
}
