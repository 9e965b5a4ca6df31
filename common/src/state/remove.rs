//! Removing one container that has ended.

use std::fs::{File, TryLockError};
use std::io;

use anyhow::{Error, Result, bail};
use nix::errno::Errno;

use crate::cli::step::Step;
use crate::state::home::Home;
use crate::state::record::exists;
use crate::state::status::Status;
use crate::state::sweep::remove_files;
use crate::state::undo::{Table, undo};

fn is_full(error: &Error) -> bool {
    let errno = error.chain().find_map(|cause| cause.downcast_ref::<Errno>());
    matches!(errno, Some(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG))
}

impl Home {
    // ANCHOR: remove
    /// Remove the container with all its files; `called` is its name for messages.
    /// Resources that its killed supervisor left are first undone by means of the
    /// table.
    ///
    /// # Errors
    /// The container runs; it is being committed or exported; an undo function fails
    /// (see `undo` in undo.rs). Nothing is removed then.
    pub fn remove(&self, called: &str, table: Table) -> Result<()> {
        let dir = self.dir();
        let handle = match File::open(&dir) {
            // Another process has removed it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            handle => handle.untraced(|| format!("open(2) {}", dir.display()))?,
        };
        let flock = || format!("flock(2) {}", dir.display());
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(e).untraced(flock),
            // Processes that read the container hold this lock shared; a removal
            // needs it exclusively.
            Err(TryLockError::WouldBlock) if handle.try_lock_shared().is_ok() => {
                bail!(
                    "container {called} is being read by commit or export: try again \
                     later"
                )
            }
            Err(TryLockError::WouldBlock) => {
                handle.lock().untraced(flock)?;
                if !exists(self) {
                    return Ok(());
                }
            }
        }
        // Opened before the status is read, so that this does not wait for a later
        // holder of the lock.
        let watched = self.watch()?;
        match (Status::by_lock(self)?, watched) {
            (Status::Running(_) | Status::Starting, _) => {
                bail!("container {called} is running: end its program first");
            }
            // The supervisor, or a sweep, is about to finish.
            (Status::Ending, Some(watched)) => drop(watched.wait_until_released()?),
            _ => {}
        }
        // First undo what a killed supervisor left. Then take the lock again, so that
        // the next sweep finishes this removal if it is killed.
        undo(self, &self.notes()?, table)?;
        self.release()?;
        let lock = match self.lock() {
            // A removal makes room. One that is killed leaves a directory without a record,
            // which a later command removes.
            Err(error) if is_full(&error) => None,
            lock => Some(lock?),
        };
        remove_files(self)?;
        drop(lock);
        Ok(())
    }
    // ANCHOR_END: remove
}
