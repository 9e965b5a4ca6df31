//! A container that is being read.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, bail};
use ch02_cgroups::{Group, is_frozen};
use common::state::record;
use common::state::{Record, State, Status};
use common::step::Step;
use common::{Home, rights};

use crate::frozen::Frozen;

/// So long a start is waited for.
const STARTING: Duration = Duration::from_secs(2);

/// A container that nobody removes meanwhile, but for its own host side.
pub struct Held {
    /// As it was made.
    pub record: Record,
    home: Home,
    /// Its host side removes it when its program ends.
    goes: bool,
    _lock: File,
}

impl Held {
    /// The container that the user called so.
    ///
    /// # Errors
    /// There is none; it is being removed, or has not started within two seconds.
    pub fn new(state: &State, container: &str) -> Result<Held> {
        let record = Record::find(state, container)?;
        let home = record.home(state);
        let dir = home.dir();
        let lock = match File::open(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(removed(&record));
            }
            lock => lock.look(|| format!("open(2) {}", dir.display()))?,
        };
        lock.lock_shared().look(|| format!("flock(2) {}", dir.display()))?;
        // It has a record before it has a write layer.
        let deadline = Instant::now() + STARTING;
        while Status::by_lock(&home)? == Status::Starting {
            if Instant::now() > deadline {
                bail!(
                    "container {container} is just being started: try again later"
                );
            }
            sleep(Duration::from_millis(5));
        }
        // Before the record is looked for, which goes before the note of this does.
        let goes = home.notes()?.goes_with_program();
        if record::is_missing(&dir) {
            return Err(removed(&record));
        }
        Ok(Held { record, home, goes, _lock: lock })
    }

    /// Its write layer.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.home.dir().join("upper")
    }

    fn runs(&self) -> Result<bool> {
        Ok(matches!(Status::by_lock(&self.home)?, Status::Running(_)))
    }

    /// The result of reading the container, unless it was being removed by then: a copy
    /// would silently lack the files that are already gone.
    ///
    /// # Errors
    /// It was being removed; the error of the read.
    pub fn whole<T>(&self, read: Result<T>) -> Result<T> {
        if self.goes && !self.runs()? {
            return Err(removed(&self.record));
        }
        read
    }

    /// Stop it as long as the answer lives, if it runs and can be stopped. A container that
    /// is frozen already stays so: the user froze it, and thaws it.
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
            // It has ended meanwhile, and its group went with it.
            if !self.runs()? {
                return Ok(None);
            }
            // Not SIGSTOP: the program sees it, its parent sees it, and one that was
            // stopped already would go on afterwards.
            let line = format!(
                "container {} is running and was not frozen, as it has no group: a \
                 file that is being written may be copied half\n",
                self.record.called()
            );
            let _ = io::stderr().write_all(line.as_bytes());
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
    anyhow!("container {} is being removed", record.called())
}

fn can_freeze(group: &Group) -> bool {
    group.file("freezer.state").is_ok() || group.file("cgroup.freeze").is_ok()
}
