//! The group of a hierarchy below which this process creates groups.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::rights;
use common::step::{Hint, Step};
use nix::unistd::geteuid;

use crate::directory::processes;
use crate::hints;
use crate::layout::{Hierarchy, Version, memberships};

/// The group for the processes that were in a delegated group.
const HOST_GROUP: &str = "mydocker-host";

// ANCHOR: top
/// The group below which new groups are created. For root this is the root group of
/// the hierarchy, unless this process is in a group that was delegated to it
/// (systemd does this on request).
///
/// # Errors
/// ENOENT if /proc is not mounted.
/// # Source
/// systemd's CGROUP_DELEGATION, "Delegation"
pub fn top(hierarchy: &Hierarchy) -> Result<PathBuf> {
    let mount = hierarchy.mount.clone();
    if hierarchy.version == Version::V1 {
        return Ok(mount);
    }
    let own = memberships("self")?.into_iter().find(|group| group.number == 0);
    let own = own.map(|own| {
        let group = Path::new(&own.group);
        mount.join(group.strip_prefix("/").unwrap_or(group))
    });
    let Some(mut own) = own else { return Ok(mount) };
    if own.ends_with(HOST_GROUP) {
        own.pop();
    }
    Ok(if own != mount && is_delegated(&own)? { own } else { mount })
}
// ANCHOR_END: top

// ANCHOR: move_to_host_group
/// In a delegated group, move all processes into a group inside it: in v2, a group
/// that enables controllers for the groups inside it has no processes. These are the
/// process that calls this function, and often the shell that started it.
///
/// # Errors
/// mkdir(2) fails, or this process cannot be moved.
/// # Source
/// cgroup-v2.rst, "No Internal Process Constraint"
pub(crate) fn move_to_host_group(hierarchy: &Hierarchy) -> Result<()> {
    let top = top(hierarchy)?;
    if hierarchy.version == Version::V1 || top == hierarchy.mount {
        return Ok(());
    }
    let host = top.join(HOST_GROUP);
    fs::create_dir_all(&host).step(|| format!("mkdir(2) {}", host.display()))?;
    let file = host.join("cgroup.procs");
    let enter = |process: i32| {
        fs::write(&file, process.to_string())
            .step(|| format!("write(2) {process} to {}", file.display()))
            .hint(hints::add)
    };
    // 0 stands for this process.
    enter(0)?;
    for _ in 0..ATTEMPTS {
        let others = processes(&top)?;
        if others.is_empty() {
            break;
        }
        // A process that has ended meanwhile is no error. If a process of another
        // user stays, enabling the controllers fails, and the error says why.
        others.into_iter().filter(|it| *it > 0).for_each(|it| drop(enter(it)));
    }
    Ok(())
}
// ANCHOR_END: move_to_host_group

/// A process that forks while it is moved leaves a child behind, so the list is read
/// again.
const ATTEMPTS: u32 = 10;

fn is_delegated(group: &Path) -> Result<bool> {
    // Root of a user namespace cannot read "trusted." attributes.
    if !rights::is_host_root()? {
        let owner = fs::metadata(group).map(|meta| meta.uid());
        return Ok(owner.is_ok_and(|owner| owner == geteuid().as_raw()));
    }
    let mut value = [0; 1];
    let names = ["trusted.delegate", "user.delegate"];
    Ok(names.iter().any(|name| {
        let read = rustix::fs::getxattr(group, *name, &mut value[..]);
        read == Ok(1) && value == *b"1"
    }))
}
