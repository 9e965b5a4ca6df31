//! Limits for a container, which apply from its first instruction on.

#![forbid(unsafe_code)]

mod container;
mod destroy;
mod flags;
#[cfg(test)]
mod hostile;
mod values;

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::Result;
use ch02_cgroups::{Version, add_hint};
use common::step::{Hint, Step};
use common::{CloneArgs, Exit, Home, ParentLink, Part, Plan};

use container::make;

pub use container::{UNDO, places, remove_group};
pub use flags::{Flags, weight};
pub use values::{Cpus, Io, Key, List};

/// A group for the container. The child joins it without the parent's help.
///
/// Moving another process takes a lock that waits for all CPUs: 5 to 15 ms. A
/// process with one thread that moves itself needs no such lock, and a process that
/// is created in its group is not moved at all.
#[derive(Debug)]
pub struct Limits {
    flags: Flags,
    /// v1: the `tasks` files of the group, which the parent opened.
    tasks: Vec<(PathBuf, File)>,
    /// v2: the group's directory, which the clone takes.
    directory: RefCell<Option<OwnedFd>>,
}

impl Limits {
    /// A part with these limits. Without limits there is no group.
    #[must_use]
    pub fn new(flags: Flags) -> Limits {
        Limits { flags, tasks: Vec::new(), directory: RefCell::default() }
    }
}

// ANCHOR: part
impl Part for Limits {
    fn name(&self) -> &'static str {
        "limits"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        let Some(group) = make(&self.flags, &plan.home)? else { return Ok(()) };
        for place in group.places {
            let open = |path: &PathBuf, write: bool| {
                let opened = File::options().read(!write).write(write).open(path);
                opened.step(|| format!("open(2) {}", path.display()))
            };
            match place.hierarchy.version {
                // The parent opens the file: the kernel checks the rights of the
                // opener, and the child may have dropped its rights later.
                Version::V1 => {
                    let path = place.path.join("tasks");
                    let file = open(&path, true)?;
                    self.tasks.push((path, file));
                }
                Version::V2 => {
                    let directory = open(&place.path, false)?;
                    self.directory.replace(Some(directory.into()));
                }
            }
        }
        Ok(())
    }

    fn clone_args(&self, args: &mut CloneArgs) {
        args.cgroup = self.directory.take();
    }

    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        for (path, file) in &self.tasks {
            let mut file = file;
            file.write_all(b"0")
                .step(|| format!("write(2) 0 to {}", path.display()))
                .hint(add_hint)?;
        }
        Ok(())
    }

    fn ended(&self, home: &Home, _how: Exit) -> Result<()> {
        remove_group(home)
    }
}
// ANCHOR_END: part
