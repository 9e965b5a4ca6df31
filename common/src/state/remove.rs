//! The removal of one container that has ended.

use std::fs::{File, TryLockError};
use std::io;

use anyhow::{Result, bail};

use crate::cli::step::Step;
use crate::state::home::Home;
use crate::state::record::exists;
use crate::state::status::Status;
use crate::state::sweep::remove_files;
use crate::state::undo::{Table, undo};

impl Home {
    // ANCHOR: remove
    /// Remove the container with everything that it has; `called` is for messages.
    /// What its killed host side left is undone by the table first.
    ///
    /// # Errors
    /// It runs; it is being committed or exported; as `undo` in undo.rs: nothing is removed then.
    pub fn remove(&self, called: &str, table: Table) -> Result<()> {
        let dir = self.dir();
        let handle = match File::open(&dir) {
            // Another process was faster.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            handle => handle.look(|| format!("open(2) {}", dir.display()))?,
        };
        let flock = || format!("flock(2) {}", dir.display());
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(e).look(flock),
            // Processes that read the container share this lock; a removal needs it
            // alone.
            Err(TryLockError::WouldBlock) if handle.try_lock_shared().is_ok() => {
                bail!(
                    "container {called} is being read, for an image or a tar: try again \
                     later"
                )
            }
            Err(TryLockError::WouldBlock) => {
                handle.lock().look(flock)?;
                if !exists(self) {
                    return Ok(());
                }
            }
        }
        // Opened before it is looked at, so that no later holder is waited for.
        let watched = self.watch()?;
        match (Status::by_lock(self)?, watched) {
            (Status::Running(_) | Status::Starting, _) => {
                bail!("container {called} is running: end its program first");
            }
            // Its host side, or a sweep, is about to finish.
            (Status::Ending, Some(watched)) => drop(watched.outlast()?),
            _ => {}
        }
        // First what a killed host side left. Then the removal takes the lock anew, so
        // that a killed removal is finished by the next sweep.
        undo(self, &self.notes()?, table)?;
        self.release()?;
        let lock = self.lock()?;
        remove_files(self)?;
        drop(lock);
        Ok(())
    }
    // ANCHOR_END: remove
}
