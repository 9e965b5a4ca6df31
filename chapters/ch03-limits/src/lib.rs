//! Limits on a container, which it has from its first instruction on.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::Result;
use ch02_cgroups::{Version, make, unmake};
use common::step::{Hint, Step};
use common::{Birth, Exit, Home, Part, Plan, Up};
use nix::errno::Errno;

pub use ch02_cgroups::{Flags, UNDO};

/// A group for the container, which it joins by itself.
///
/// Moving another process takes a lock that waits for all processors: 5 to 15 ms. A
/// process with one thread that moves itself needs no such lock, and one that is
/// born into its group isn't moved at all.
#[derive(Debug)]
pub struct Limits {
    flags: Flags,
    /// v1: the groups' `tasks`, opened by the parent.
    tasks: Vec<(PathBuf, File)>,
    /// v2: the group's directory, until the child is born.
    cradle: RefCell<Option<OwnedFd>>,
}

impl Limits {
    /// With these limits; without any there is no group.
    #[must_use]
    pub fn new(flags: Flags) -> Limits {
        Limits { flags, tasks: Vec::new(), cradle: RefCell::default() }
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
                // Opened here: the kernel asks whether the opener may write, and the
                // child may have given its rights up by then.
                Version::V1 => {
                    let path = place.path.join("tasks");
                    let file = open(&path, true)?;
                    self.tasks.push((path, file));
                }
                Version::V2 => {
                    let directory = open(&place.path, false)?;
                    self.cradle.replace(Some(directory.into()));
                }
            }
        }
        Ok(())
    }

    fn birth(&self, birth: &mut Birth) {
        birth.cgroup = self.cradle.take();
    }

    fn enter(&self, _plan: &Plan, _up: &Up) -> Result<()> {
        for (path, file) in &self.tasks {
            let mut file = file;
            file.write_all(b"0")
                .step(|| format!("write(2) 0 to {}", path.display()))
                .hint(why)?;
        }
        Ok(())
    }

    fn ended(&self, home: &Home, _how: Exit) -> Result<()> {
        unmake(home)
    }
}
// ANCHOR_END: part

fn why(errno: Errno) -> Option<String> {
    (errno == Errno::ENOSPC).then(|| {
        "a cpuset takes nobody without processors and memory nodes: compare with \
         cpuset.cpus and cpuset.mems of the group above"
            .to_owned()
    })
}
