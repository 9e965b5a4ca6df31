//! What a page changes on its machine.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::gethostname;

use crate::{Snapshot, descendants};

/// The time in which started processes may end.
const SETTLING: Duration = Duration::from_secs(3);

/// The state directory of root's chapters.
pub(super) const STATE: &str = "/var/lib/mydocker";

/// Directories in which a page must leave nothing. It may leave files in its users' home
/// directories.
const FOREIGN: [&str; 8] = [
    "/",
    "/etc",
    "/run",
    "/dev/shm",
    "/mnt",
    "/tmp",
    "/var/lib/mydocker/images/names",
    "/home/learner/.local/share/mydocker/images/names",
];

/// The state of the machine before the page.
pub(super) struct Machine {
    snapshot: Snapshot,
    rest: Vec<String>,
}

impl Machine {
    pub(super) fn look() -> Machine {
        let snapshot = Snapshot::take(&Path::new(STATE).join("containers"));
        let mut rest = Vec::new();
        for place in FOREIGN {
            for entry in fs::read_dir(place).into_iter().flatten().flatten() {
                rest.push(format!("file {}", entry.path().display()));
            }
        }
        let host = gethostname().unwrap_or_default();
        rest.push(format!("host name {}", host.display()));
        Machine { snapshot, rest }
    }

    /// The changes that remain after started processes have ended.
    pub(super) fn left(&self) -> Vec<String> {
        let end = Instant::now() + SETTLING;
        loop {
            descendants::reap();
            let now = Machine::look();
            let mut left = self.snapshot.differences(&now.snapshot);
            let new = now.rest.iter().filter(|it| !self.rest.contains(it));
            left.extend(new.map(|it| format!("left: {it}")));
            // The page about `prune` removes all images.
            let gone = self.rest.iter().filter(|it| !it.contains("/images/names/"));
            let gone = gone.filter(|it| !now.rest.contains(it));
            left.extend(gone.map(|it| format!("gone: {it}")));
            if left.is_empty() || Instant::now() > end {
                return left;
            }
            sleep(Duration::from_millis(20));
        }
    }
}
