//! The container's cgroups, as who joins them needs them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::Home;
use common::step::Step;

/// The container's groups, open.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// v1: what the child writes itself into.
    pub(crate) tasks: Vec<(PathBuf, File)>,
    /// v2: what the child is born into.
    pub(crate) cradle: Option<OwnedFd>,
    /// Whether nobody in them makes a step at the moment.
    pub(crate) frozen: bool,
}

impl Groups {
    // ANCHOR: find
    /// Where they lie is noted, as it depends on who made them. Each is a directory of
    /// v1, which has a file for threads, or of v2.
    pub(crate) fn find(home: &Home) -> Result<Groups> {
        let mut groups = Groups::default();
        for place in ch03_limits::places(home)? {
            let tasks = place.join("tasks");
            let step = || format!("open(2) {}", tasks.display());
            match File::options().write(true).open(&tasks) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    groups.cradle = cradle(&place)?.or(groups.cradle);
                }
                file => groups.tasks.push((tasks.clone(), file.look(step)?)),
            }
            groups.frozen |= ch02_cgroups::is_frozen(&place);
        }
        Ok(groups)
    }
    // ANCHOR_END: find

    /// The own process moves in, which is the cheap way: see ch03-limits.
    pub(crate) fn enter(&self) -> Result<()> {
        for (path, file) in &self.tasks {
            let mut file = file;
            file.write_all(b"0")
                .step(|| format!("write(2) 0 to {}", path.display()))?;
        }
        Ok(())
    }
}

/// A group that was noted may not have been made.
fn cradle(place: &Path) -> Result<Option<OwnedFd>> {
    match File::open(place) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        file => {
            let file = file.look(|| format!("open(2) {}", place.display()))?;
            Ok(Some(file.into()))
        }
    }
}
