//! How a container is now.

use anyhow::Result;

use crate::process::exit::Exit;
use crate::process::pidfd::Noted;
use crate::state::directory::State;
use crate::state::home::Home;
use crate::state::id::Id;
use crate::state::lock::LockState;
use crate::state::notes::Notes;
use crate::state::record::{End, RECORD};

/// How a container is, at the moment of the look. Its lock tells whether a process holds
/// it. A PID alone tells nothing: it may belong to another process by now, so it is
/// compared together with the start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is being created, and its program does not run yet; or, by the lock alone, it is
    /// being removed.
    Starting,
    /// Its program runs; this is the container's first process.
    Running(Noted),
    /// Its program has ended, and its host side has not written how.
    Ending,
    /// It has ended, and its host side saw how.
    Exited(End),
    /// Its host side was killed: no process saw the end.
    Dead,
}

impl Status {
    // ANCHOR: of
    /// Look at one container; `None` if it has no record, or was removed meanwhile.
    ///
    /// # Errors
    /// Those of open(2), flock(2) and read(2); a damaged record of its end.
    pub fn of(home: &Home) -> Result<Option<Status>> {
        Ok(Status::and_notes(home)?.map(|(status, _)| status))
    }

    /// The same, with the notes of a container that a process holds.
    ///
    /// # Errors
    /// Those of open(2), flock(2) and read(2); a damaged record of its end.
    pub fn and_notes(home: &Home) -> Result<Option<(Status, Notes)>> {
        // The lock first: the process that ends the container writes the end, and then
        // releases the lock.
        let lock = home.lock_state()?;
        let status = match Status::told_by(&lock) {
            Status::Running(process) => Some(Status::Running(process)),
            other => Status::unless_ended(&home.state, &home.id, other)?,
        };
        Ok(status.map(|status| (status, lock.notes())))
    }

    /// The same without a look at the lock, for a container that has no lock file.
    ///
    /// # Errors
    /// Those of open(2) and read(2); a damaged record of its end.
    pub fn of_unlocked(state: &State, id: &Id) -> Result<Option<Status>> {
        Status::unless_ended(state, id, Status::Dead)
    }

    /// What the lock file alone tells: [`Status::Dead`] if no process holds it.
    ///
    /// # Errors
    /// Those of open(2), flock(2) and read(2).
    pub fn by_lock(home: &Home) -> Result<Status> {
        Ok(Status::told_by(&home.lock_state()?))
    }

    fn told_by(lock: &LockState) -> Status {
        match lock {
            LockState::Free => Status::Dead,
            LockState::Held(notes) => match notes.process() {
                None => Status::Starting,
                Some(process) if process.lives() => Status::Running(process),
                Some(_) => Status::Ending,
            },
        }
    }

    fn unless_ended(
        state: &State,
        id: &Id,
        otherwise: Status,
    ) -> Result<Option<Status>> {
        Ok(match End::read(state, id)? {
            Some(End { how: Exit::Unseen, .. }) => Some(Status::Dead),
            Some(end) => Some(Status::Exited(end)),
            // A removal takes the record first, then the file that tells of the end.
            None => state.file_path(id, RECORD).exists().then_some(otherwise),
        })
    }
    // ANCHOR_END: of

    /// Whether a process holds the container: what `ps` lists without `-a`.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Status::Starting | Status::Running(_) | Status::Ending)
    }
}
