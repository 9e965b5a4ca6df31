//! The current status of a container.

use anyhow::Result;

use crate::process::exit::Exit;
use crate::process::pidfd::NotedProcess;
use crate::state::directory::State;
use crate::state::home::Home;
use crate::state::id::Id;
use crate::state::lock::LockState;
use crate::state::notes::Notes;
use crate::state::record::{End, RECORD};

/// The status of a container at the moment of the check. The lock shows whether its
/// supervisor is alive. The PID and the start time show whether its first process is
/// alive. The PID alone is not enough, because the kernel may have reused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The container is being created, and its program does not run yet.
    /// [`Status::by_lock`] also returns this for a container that is being removed.
    Starting,
    /// The program runs; this is the container's first process.
    Running(NotedProcess),
    /// The program has ended, and the supervisor has not written the exit status yet.
    Ending,
    /// The program has ended, and the supervisor saw its exit status.
    Exited(End),
    /// The supervisor was killed: no process saw the end.
    Dead,
}

impl Status {
    // ANCHOR: of
    /// The status of one container; `None` if it has no record or was removed.
    ///
    /// # Errors
    /// open(2), flock(2) or read(2) fails; the file `ended` is damaged.
    pub fn of(home: &Home) -> Result<Option<Status>> {
        Ok(Status::and_notes(home)?.map(|(status, _)| status))
    }

    /// The status of one container, and its notes if a process holds the lock.
    ///
    /// # Errors
    /// open(2), flock(2) or read(2) fails; the file `ended` is damaged.
    pub fn and_notes(home: &Home) -> Result<Option<(Status, Notes)>> {
        // Check the lock first: the process that ends the container writes the end,
        // then releases the lock.
        let lock = home.lock_state()?;
        let status = match Status::from_lock_state(&lock) {
            Status::Running(process) => Some(Status::Running(process)),
            other => Status::unless_ended(&home.state, &home.id, other)?,
        };
        Ok(status.map(|status| (status, lock.notes())))
    }

    /// The status of a container that has no lock file. No lock is checked.
    ///
    /// # Errors
    /// open(2) or read(2) fails; the file `ended` is damaged.
    pub fn of_unlocked(state: &State, id: &Id) -> Result<Option<Status>> {
        Status::unless_ended(state, id, Status::Dead)
    }

    /// The status according to the lock file only: [`Status::Dead`] if no process
    /// holds the lock.
    ///
    /// # Errors
    /// open(2), flock(2) or read(2) fails.
    pub fn by_lock(home: &Home) -> Result<Status> {
        Ok(Status::from_lock_state(&home.lock_state()?))
    }

    fn from_lock_state(lock: &LockState) -> Status {
        match lock {
            LockState::Free => Status::Dead,
            LockState::Held(notes) => match notes.process() {
                None => Status::Starting,
                Some(process) if process.is_alive() => Status::Running(process),
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
            // A removal deletes the record first, then the file `ended`.
            None => state.file_path(id, RECORD).exists().then_some(otherwise),
        })
    }
    // ANCHOR_END: of

    /// Whether a process holds the lock. `ps` without `-a` lists these containers.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Status::Starting | Status::Running(_) | Status::Ending)
    }
}
