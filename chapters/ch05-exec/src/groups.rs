//! The container's cgroups, opened for a process that joins them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use common::state::Record;
use common::step::{self, Step};
use common::{Home, Process, poll};
use rustix::event::{PollFd, PollFlags};

/// The time between two checks of a frozen container.
const PAUSE: Duration = Duration::from_millis(20);

/// The open files of the container's groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// v1: the `tasks` files, to which the child writes itself.
    pub(crate) tasks: Vec<(PathBuf, File)>,
    /// v2: the directory of the group in which the child is created.
    pub(crate) cgroup_dir: Option<OwnedFd>,
    /// v1: where a process goes that has to leave the freezer.
    pub(crate) thawed: Option<PathBuf>,
    /// Whether one of them is frozen, or is being frozen.
    frozen: bool,
}

impl Groups {
    // ANCHOR: find
    /// Open the groups. Their paths are in the notes, because they depend on the
    /// process that created them. A directory of v1 has the file `tasks`; a
    /// directory of v2 does not.
    fn find(home: &Home) -> Result<Groups> {
        let mut groups = Groups::default();
        for place in ch03_limits::places(home)? {
            let tasks = place.join("tasks");
            let step = || format!("open(2) {}", tasks.display());
            match File::options().write(true).open(&tasks) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    groups.cgroup_dir = cgroup_dir(&place)?.or(groups.cgroup_dir);
                }
                file => groups.tasks.push((tasks.clone(), file.untraced(step)?)),
            }
            groups.frozen |= ch02_cgroups::is_frozen(&place);
            if place.join("freezer.state").exists() {
                groups.thawed =
                    place.parent().map(|above| above.join("cgroup.procs"));
            }
        }
        Ok(groups)
    }
    // ANCHOR_END: find

    /// Open the groups as soon as the container is not frozen, or has ended.
    ///
    /// A process that joins a frozen cgroup stops at once. So this process waits before
    /// it creates one, and says so. A container that is frozen later stops the child in
    /// its group. This process still waits for signals then, and kills the child when a
    /// signal comes: see [`common::CloneArgs::thawed`].
    ///
    /// # Errors
    /// An errno of open(2) or poll(2).
    pub(crate) fn thawed(
        home: &Home,
        record: &Record,
        process: &Process,
    ) -> Result<Groups> {
        let mut told = false;
        loop {
            let groups = Groups::find(home)?;
            if !groups.frozen || process.has_ended() {
                return Ok(groups);
            }
            if !told {
                step::note(&format!(
                    "container {} is frozen: the program starts when it is thawed",
                    record.display_name()
                ));
                told = true;
            }
            let mut ended = [PollFd::new(&process.fd, PollFlags::IN)];
            poll(&mut ended, Some(PAUSE))?;
        }
    }

    /// Move this process into the groups. Moving another process would be slow: see
    /// ch03-limits.
    pub(crate) fn enter(&self) -> Result<()> {
        for (path, file) in &self.tasks {
            let mut file = file;
            file.write_all(b"0")
                .step(|| format!("write(2) 0 to {}", path.display()))?;
        }
        Ok(())
    }
}

/// Open the directory of a v2 group. The group may not exist: a note is written
/// first.
fn cgroup_dir(place: &Path) -> Result<Option<OwnedFd>> {
    match File::open(place) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        file => {
            let file = file.untraced(|| format!("open(2) {}", place.display()))?;
            Ok(Some(file.into()))
        }
    }
}
