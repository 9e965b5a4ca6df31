//! Hold a container while its files are read.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, bail};
use ch02_cgroups::{Group, is_frozen};
use common::state::record;
use common::state::{Record, State, Status};
use common::step::{self, Step};
use common::{Home, rights};

use crate::frozen::Frozen;

/// The maximum time to wait for the start of a container.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// A container with a lock that prevents its removal by other commands. Its own
/// supervisor may still remove it.
pub struct LockedContainer {
    /// The record of the container.
    pub record: Record,
    home: Home,
    /// Whether its supervisor removes it when its program ends (`--rm`).
    removed_at_end: bool,
    _lock: File,
}

impl LockedContainer {
    /// Find the container with this name, ID, or unique ID prefix, and lock it.
    ///
    /// # Errors
    /// The container is not found, is being removed, or has not started within two
    /// seconds.
    pub fn new(state: &State, container: &str) -> Result<LockedContainer> {
        let record = Record::find(state, container)?;
        let home = record.home(state);
        let dir = home.dir();
        let lock = match File::open(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(removed(&record));
            }
            lock => lock.untraced(|| format!("open(2) {}", dir.display()))?,
        };
        lock.lock_shared().untraced(|| format!("flock(2) {}", dir.display()))?;
        // Wait for the start: the record exists before the write layer.
        let deadline = Instant::now() + START_TIMEOUT;
        while Status::by_lock(&home)? == Status::Starting {
            if Instant::now() > deadline {
                bail!(
                    "container {container} is just being started: try again later"
                );
            }
            sleep(Duration::from_millis(5));
        }
        // Read the note before the check of the record: a removal deletes the record
        // first.
        let removed_at_end = home.notes()?.goes_with_program();
        if record::is_missing(&dir) {
            return Err(removed(&record));
        }
        Ok(LockedContainer { record, home, removed_at_end, _lock: lock })
    }

    /// Its write layer.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.home.dir().join("upper")
    }

    fn runs(&self) -> Result<bool> {
        Ok(matches!(Status::by_lock(&self.home)?, Status::Running(_)))
    }

    /// Return the result of reading the container, or an error if the container was
    /// being removed: the copy would lack the files that were already deleted.
    ///
    /// # Errors
    /// The container was being removed; any error of the read.
    pub fn check_complete<T>(&self, read: Result<T>) -> Result<T> {
        if self.removed_at_end && !self.runs()? {
            return Err(removed(&self.record));
        }
        read
    }

    /// Freeze the container until the returned value is dropped. A container that is
    /// frozen already stays so: the user froze it, and thaws it. Returns `None` if the
    /// container is not running or has no group that can be frozen.
    ///
    /// # Errors
    /// The group cannot be frozen.
    pub fn freeze(&self) -> Result<Option<Frozen>> {
        if !self.runs()? {
            return Ok(None);
        }
        let group = Group::find(self.record.id.as_str());
        let group = group.ok().filter(|_| rights::privileged());
        let Some(group) = group.filter(can_freeze) else {
            // The container has ended in the meantime, and its group was removed.
            if !self.runs()? {
                return Ok(None);
            }
            // SIGSTOP is no substitute: the program's parent notices it, and a
            // program that was already stopped would continue afterwards.
            step::note(&format!(
                "container {} is running and was not frozen, because it has no \
                 cgroup: files that are being written may be copied incompletely",
                self.record.display_name()
            ));
            return Ok(None);
        };
        if group.places.iter().any(|place| is_frozen(&place.path)) {
            return Ok(None);
        }
        match Frozen::new(group) {
            Err(_) if !self.runs()? => Ok(None),
            frozen => frozen.map(Some),
        }
    }
}

fn removed(record: &Record) -> Error {
    anyhow!("container {} is being removed", record.display_name())
}

fn can_freeze(group: &Group) -> bool {
    group.file("freezer.state").is_ok() || group.file("cgroup.freeze").is_ok()
}
