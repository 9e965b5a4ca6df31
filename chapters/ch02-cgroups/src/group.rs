//! Create a group, move processes into it, and remove it. A group is one directory
//! in each of its hierarchies.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use common::read_whole;
use common::step::{Hint, Step};

use crate::directory::{PREFIX, enable_controllers, processes};
use crate::hints;
use crate::keep::{keep, release};
use crate::layout::{Hierarchy, Layout, Version};
use crate::top::{move_to_host_group, top};

/// The directory of a group in one hierarchy. It may not exist yet.
#[derive(Clone, Debug)]
pub struct GroupDir {
    /// The hierarchy.
    pub hierarchy: Hierarchy,
    /// The group's directory.
    pub path: PathBuf,
    /// The controllers that the group uses in this hierarchy.
    wanted: Vec<String>,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its directories, one in each hierarchy.
    pub places: Vec<GroupDir>,
}

impl Group {
    /// Plan a group with this name, in each hierarchy that has one of these
    /// controllers. Nothing is created yet.
    ///
    /// # Errors
    /// ENOENT if /proc is not mounted.
    pub fn plan(layout: Layout, name: &str, controllers: &[&str]) -> Result<Group> {
        let mut places = Vec::new();
        for hierarchy in layout.hierarchies {
            let own = hierarchy.controllers.iter();
            let wanted = own.filter(|own| controllers.contains(&own.as_str()));
            let wanted: Vec<String> = wanted.cloned().collect();
            if !wanted.is_empty() {
                let path = top(&hierarchy)?.join(format!("{PREFIX}{name}"));
                places.push(GroupDir { hierarchy, path, wanted });
            }
        }
        Ok(Group { places })
    }

    /// Also give the group a directory in this hierarchy, without a controller.
    ///
    /// # Errors
    /// ENOENT if /proc is not mounted.
    pub fn add_hierarchy(&mut self, hierarchy: Hierarchy, name: &str) -> Result<()> {
        if self.places.iter().all(|place| place.hierarchy != hierarchy) {
            let path = top(&hierarchy)?.join(format!("{PREFIX}{name}"));
            self.places.push(GroupDir { hierarchy, path, wanted: Vec::new() });
        }
        Ok(())
    }

    /// Create the group's directories. After an error, none of them remains.
    ///
    /// # Errors
    /// EEXIST if the group exists already; ENOENT if the group above it does not
    /// exist; a controller cannot be enabled in a group above.
    pub fn make(&self) -> Result<()> {
        for (index, place) in self.places.iter().enumerate() {
            if let Err(error) = place.make() {
                for place in &self.places[..index] {
                    // Ignore an error here: the first error is reported.
                    let _ = fs::remove_dir(&place.path);
                    release(&place.hierarchy.mount);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Find the group with this name in all hierarchies.
    ///
    /// # Errors
    /// The group has no directory in any hierarchy.
    pub fn find(name: &str) -> Result<Group> {
        let mut places = Vec::new();
        for hierarchy in Layout::find()?.hierarchies {
            let path = top(&hierarchy)?.join(format!("{PREFIX}{name}"));
            if about(&path)?.is_some_and(|about| about.is_dir()) {
                places.push(GroupDir { hierarchy, path, wanted: Vec::new() });
            }
        }
        if places.is_empty() {
            bail!("group {name} not found: use create first");
        }
        Ok(Group { places })
    }

    /// The path of the group's file with this name, in the first directory that
    /// contains it.
    ///
    /// # Errors
    /// No directory of the group has this file. The error text names the other
    /// version's file, or the missing controller.
    pub fn file(&self, key: &str) -> Result<PathBuf> {
        self.find_file(key)?.with_context(|| hints::missing_file(key))
    }

    /// Like [`Group::file`], but returns `None` if no directory has this file.
    ///
    /// # Errors
    /// stat(2) fails with an errno other than ENOENT.
    pub(crate) fn find_file(&self, key: &str) -> Result<Option<PathBuf>> {
        let mut files =
            self.places.iter().filter_map(|place| place.file(key).transpose());
        files.next().transpose()
    }

    /// Write a value into the group's file with this name.
    ///
    /// # Errors
    /// The group has no such file, or the kernel refuses the value.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        for place in &self.places {
            if place.file(key)?.is_some() && place.set(key, value)? {
                return Ok(());
            }
        }
        bail!(hints::missing_file(key))
    }

    // ANCHOR: add
    /// Move a process into the group, in all hierarchies of the group. 0 stands for
    /// the caller. Existing children of the process stay in the old group; later
    /// children start in the new group.
    ///
    /// # Errors
    /// ESRCH if the process does not exist; EBUSY if a v2 group enables controllers
    /// for the groups inside it, since such a group accepts no processes; EACCES if
    /// the caller has no write permission for the old and the new group.
    /// # Source
    /// cgroups(7), "cgroup.procs"
    pub fn add(&self, process: u32) -> Result<()> {
        for place in &self.places {
            let path = place.path.join("cgroup.procs");
            fs::write(&path, process.to_string())
                .step(|| format!("write(2) {process} to {}", path.display()))
                .hint(hints::add)?;
        }
        Ok(())
    }
    // ANCHOR_END: add

    /// The processes in the group, without the processes in its child groups.
    ///
    /// # Errors
    /// ENOENT or ENODEV if the group was removed.
    pub fn processes(&self) -> Result<BTreeSet<i32>> {
        let mut found = BTreeSet::new();
        for place in &self.places {
            found.extend(processes(&place.path)?);
        }
        Ok(found)
    }

    /// Remove the group.
    ///
    /// # Errors
    /// The group has processes, or groups inside it.
    pub fn delete(&self, name: &str) -> Result<()> {
        let living = self.processes()?;
        if !living.is_empty() {
            let living: Vec<String> = living.iter().map(i32::to_string).collect();
            bail!(
                "group {name} has processes: {}; end them, or move them elsewhere",
                living.join(" ")
            );
        }
        for place in &self.places {
            for entry in fs::read_dir(&place.path).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let inner = entry.file_name();
                    bail!(
                        "group {name} has groups inside: delete {name}/{} first",
                        inner.display()
                    );
                }
            }
        }
        self.places.iter().try_for_each(|place| {
            remove(&place.path)?;
            release(&place.hierarchy.mount);
            Ok(())
        })
    }
}

/// A process that has just ended can keep its group busy (EBUSY) for a short time.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

fn remove(path: &Path) -> Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let removed = fs::remove_dir(path);
        let busy =
            removed.as_ref().is_err_and(|e| e.kind() == ErrorKind::ResourceBusy);
        if !busy || Instant::now() > deadline {
            return removed.step(|| format!("rmdir(2) {}", path.display()));
        }
        sleep(Duration::from_millis(1));
    }
}

/// The metadata of the file at this path, or `None` if the file does not exist.
fn about(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        about => about.map(Some).untraced(|| format!("stat(2) {}", path.display())),
    }
}

impl GroupDir {
    fn file(&self, key: &str) -> Result<Option<PathBuf>> {
        let file = self.path.join(key);
        Ok(about(&file)?.is_some_and(|about| about.is_file()).then_some(file))
    }

    /// Write a value into this directory's file with that name. Returns whether the
    /// file exists.
    ///
    /// # Errors
    /// The kernel refuses the value, often with EINVAL.
    pub fn set(&self, key: &str, value: &str) -> Result<bool> {
        let path = self.path.join(key);
        // Write a newline instead of an empty value: write_all() of an empty slice
        // makes no system call.
        let line = if value.is_empty() { "\n" } else { value };
        let file = File::options().write(true).open(&path);
        match file.and_then(|mut file| file.write_all(line.as_bytes())) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            written => written
                .step(|| format!("write(2) {value:?} to {}", path.display()))
                .hint(|errno| hints::set(errno, key))
                .map(|()| true),
        }
    }

    fn make(&self) -> Result<()> {
        let path = &self.path;
        if self.hierarchy.version == Version::V2 {
            move_to_host_group(&self.hierarchy)?;
            enable_controllers(&top(&self.hierarchy)?, path, &self.wanted)?;
        }
        fs::create_dir(path)
            .step(|| format!("mkdir(2) {}", path.display()))
            .hint(|errno| hints::make(errno, path))?;
        if self.hierarchy.version == Version::V2
            && path.parent() == Some(&self.hierarchy.mount)
            && let Err(error) = keep(&self.hierarchy.mount, &self.wanted)
        {
            let _ = fs::remove_dir(path);
            release(&self.hierarchy.mount);
            return Err(error);
        }
        let is_cpuset = self.wanted.iter().any(|name| name == "cpuset");
        if self.hierarchy.version == Version::V1 && is_cpuset {
            // In v1, a new cpuset has no CPUs and no memory nodes, and accepts no
            // process until both are set.
            let filled = ["cpuset.mems", "cpuset.cpus"]
                .iter()
                .try_for_each(|file| copy_from_parent(path, file));
            if filled.is_err() {
                let _ = fs::remove_dir(path);
            }
            filled?;
        }
        Ok(())
    }
}

fn copy_from_parent(path: &Path, file: &str) -> Result<()> {
    let from = path.parent().context("a group lies in a hierarchy")?.join(file);
    let value = read_whole::text(&from)
        .untraced(|| format!("read(2) {}", from.display()))?;
    let to = path.join(file);
    fs::write(&to, value.trim())
        .step(|| format!("write(2) {:?} to {}", value.trim(), to.display()))
}
