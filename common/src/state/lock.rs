//! The lock file of a container: `running/ID`.
//!
//! The supervisor holds a lock (flock(2)) on it while it is alive; the kernel
//! releases the lock when the supervisor ends, for any reason. The lock file is
//! created before all other files of the container, and removed after them. It
//! contains the container's notes.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::Result;

use crate::cli::hints;
use crate::cli::step::{Hint, Step};
use crate::read_whole;
use crate::state::home::Home;
use crate::state::notes::{Notes, header};
use crate::state::tree::ignore_missing;

/// The lock of a container. Dropping it releases the lock.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// An open lock file whose lock this process waits for. Its notes can still be read
/// if the file is removed meanwhile.
#[derive(Debug)]
pub struct Watched {
    file: File,
    path: PathBuf,
}

/// The result of one check of a lock file.
#[derive(Debug)]
pub enum LockState {
    /// No process holds the lock, or there is no lock file.
    Free,
    /// A process holds the lock: the supervisor, or a command that removes the
    /// container.
    Held(Notes),
}

impl LockState {
    /// The notes of a container whose lock is held; empty for any other container.
    #[must_use]
    pub fn notes(self) -> Notes {
        match self {
            LockState::Free => Notes::default(),
            LockState::Held(notes) => notes,
        }
    }
}

impl Home {
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.state.running().join(self.id.as_str())
    }

    /// Take the lock of a container that no process holds, and write the header.
    ///
    /// # Errors
    /// open(2), flock(2) or write(2) fails.
    pub fn lock(&self) -> Result<Lock> {
        self.state.make(self.state.running())?;
        let path = self.lock_path();
        let mut file = loop {
            let file = File::options().create(true).append(true).open(&path);
            let file = file
                .untraced(|| format!("open(2) {}", path.display()))
                .hint(hints::state)?;
            file.lock().untraced(|| format!("flock(2) {}", path.display()))?;
            // A sweep may have locked and removed the empty file first.
            if links(&file)? > 0 {
                break file;
            }
        };
        file.write_all(&header())
            .untraced(|| format!("write(2) {}", path.display()))
            .hint(hints::state)?;
        Ok(Lock { _file: file })
    }

    /// Check once whether a process holds the lock.
    ///
    /// # Errors
    /// open(2) or read(2) fails.
    pub fn lock_state(&self) -> Result<LockState> {
        let mut file = match self.state.open_lock_file(&self.id) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(LockState::Free);
            }
            file => {
                file.untraced(|| format!("open(2) {}", self.lock_path().display()))?
            }
        };
        // Use a shared lock. With an exclusive lock, two processes that check at the
        // same time would each take the other for the supervisor.
        if file.try_lock_shared().is_ok() {
            return Ok(LockState::Free);
        }
        let text = read_whole::rest(&mut file);
        Ok(LockState::Held(
            text.untraced(|| format!("read(2) {}", self.lock_path().display()))?
                .into(),
        ))
    }

    /// Open the lock file to wait for its lock; `None` if there is no lock file.
    ///
    /// # Errors
    /// open(2) fails.
    pub fn watch(&self) -> Result<Option<Watched>> {
        let path = self.lock_path();
        match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            file => {
                let file =
                    file.untraced(|| format!("open(2) {}", path.display()))?;
                Ok(Some(Watched { file, path }))
            }
        }
    }

    /// Remove the lock file. Call this after the whole container is undone.
    ///
    /// # Errors
    /// unlink(2) fails.
    pub fn release(&self) -> Result<()> {
        let path = self.lock_path();
        ignore_missing(std::fs::remove_file(&path))
            .untraced(|| format!("unlink(2) {}", path.display()))
    }
}

impl Watched {
    /// Sleep until no process holds the lock, then return the notes.
    ///
    /// # Errors
    /// flock(2) or read(2) fails.
    pub fn wait_until_released(mut self) -> Result<Notes> {
        loop {
            match self.file.lock_shared() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                locked => {
                    locked
                        .untraced(|| format!("flock(2) {}", self.path.display()))?;
                    break;
                }
            }
        }
        let text = read_whole::rest(&mut self.file);
        Ok(text.untraced(|| format!("read(2) {}", self.path.display()))?.into())
    }
}

/// Take the lock of a container whose supervisor is dead. `None` if a process holds
/// the lock, if the file does not exist, or if it belongs to another user.
///
/// # Errors
/// open(2), flock(2) or read(2) fails.
pub(crate) fn take_over(home: &Home) -> Result<Option<(Lock, Notes)>> {
    let path = home.lock_path();
    let mut file = match File::open(&path) {
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(None);
        }
        file => file.untraced(|| format!("open(2) {}", path.display()))?,
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => {
            return Err(e).untraced(|| format!("flock(2) {}", path.display()));
        }
        Ok(()) => {}
    }
    // If the file was removed meanwhile, its lock does not protect the container.
    if links(&file)? == 0 {
        return Ok(None);
    }
    let text = read_whole::rest(&mut file);
    let text = text.untraced(|| format!("read(2) {}", path.display()))?;
    Ok(Some((Lock { _file: file }, text.into())))
}

fn links(file: &File) -> Result<u64> {
    Ok(file.metadata().untraced(|| "fstat(2) of a container's lock file")?.nlink())
}
