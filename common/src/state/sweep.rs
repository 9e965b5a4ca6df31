//! Containers whose host side was killed: found by their unlocked lock files, and swept.
//!
//! A start examines at most two lock files, chosen at random, and the owner of each name
//! that it wants. So it opens two lock files for any number of running containers.
//! `rm`, `rmi` and `prune` examine all of them.

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
use crate::state::names::give_back;
use crate::state::notes::Notes;
use crate::state::record;
use crate::state::undo::{Table, knows, rows, undo};

/// How many lock files a start examines.
const SAMPLE: usize = 2;

/// A container whose host side is dead. Its lock keeps other processes from sweeping it
/// at the same time.
#[derive(Debug)]
pub struct Dead {
    /// Who it was.
    pub home: Home,
    notes: Notes,
    _lock: Lock,
}

impl State {
    /// The IDs of all containers that have a lock file.
    ///
    /// # Errors
    /// Those of readdir(3).
    pub fn locked_ids(&self) -> Result<Vec<Id>> {
        ids(&self.running())
    }

    /// The IDs of all containers that have a directory.
    ///
    /// # Errors
    /// Those of readdir(3).
    pub fn kept_ids(&self) -> Result<Vec<Id>> {
        ids(&self.containers())
    }

    /// All containers whose host side is dead.
    ///
    /// # Errors
    /// Those of readdir(3), open(2) and flock(2).
    pub fn dead(&self) -> Result<Vec<Dead>> {
        let found = self.locked_ids()?.into_iter().map(|id| self.examine(id));
        found.filter_map(Result::transpose).collect()
    }

    /// Sweep all dead containers that this table knows. What cannot be undone is told, and
    /// tried again by a later command.
    ///
    /// # Errors
    /// As [`State::dead`].
    pub fn sweep_dead(&self, table: Table) -> Result<()> {
        self.dead()?.iter().for_each(|dead| sweep_quietly(dead, table));
        Ok(())
    }

    // ANCHOR: sample
    /// The dead among at most two containers, chosen at random.
    ///
    /// # Errors
    /// Those of readdir(3), open(2), flock(2) and getrandom(2).
    pub(crate) fn dead_by_chance(&self) -> Result<Vec<Dead>> {
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

    /// Whether a binary with this table can sweep it.
    #[must_use]
    pub fn is_known(&self, table: Table) -> bool {
        knows(&self.notes, table)
    }

    /// Make sure that a binary with this table can sweep it.
    ///
    /// # Errors
    /// The notes have another format; a kind is unknown. The error says which command
    /// can remove the container.
    pub fn check(&self, table: Table) -> Result<()> {
        rows(&self.home, &self.notes, table).map(drop)
    }

    // ANCHOR: sweep
    /// Undo what the notes name. A container that was to be kept stays, with an end that
    /// no process saw; any other is removed.
    ///
    /// # Errors
    /// As `undo` in undo.rs; those of the removal. The lock file stays then, so that a later
    /// command tries again.
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

/// Remove the record first, so that a process that looks sees no container rather than
/// half of one; then the name and the directory, and last the lock file.
///
/// # Errors
/// Those of unlink(2) and rmdir(2).
pub(crate) fn remove_files(home: &Home) -> Result<()> {
    record::forget(home)?;
    give_back(home)?;
    home.remove_dir()?;
    home.release()
}

/// Sweep a container that owns something that this process wants. If it lives or cannot
/// be swept, it keeps what it owns.
pub fn sweep_holder(home: Home, table: Table) {
    if let Ok(Some(dead)) = Dead::find(home) {
        sweep_quietly(&dead, table);
    }
}

/// Sweep on the way to a start. Neither a container of a later chapter nor a clean-up
/// that fails is a reason not to start: the one is left alone, the other is told.
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
        .look(|| "getrandom(2) to choose a container")?;
    Ok(u32::from_ne_bytes(bytes) as usize % limit)
}

/// The container IDs among the entries of a directory. A directory that does not exist
/// has none.
///
/// # Errors
/// Those of readdir(3).
pub(crate) fn ids(directory: &std::path::Path) -> Result<Vec<Id>> {
    let step = || format!("readdir(3) {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.look(step)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.look(step)?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    Ok(found)
}
