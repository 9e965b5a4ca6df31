//! Where in a hierarchy this process may make groups.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::rights;
use common::step::{Hint, Step};
use nix::unistd::geteuid;

use crate::hints;
use crate::layout::{Hierarchy, Version, memberships};

/// The group that this process waits in while others are made beside it.
const HOST: &str = "mydocker-host";

// ANCHOR: top
/// The group below which new ones are made: the hierarchy's top for root, unless
/// somebody, systemd for one, has handed the own group over for such use.
///
/// # Errors
/// Those of /proc/self/cgroup.
/// # Source
/// systemd's CGROUP_DELEGATION, "Delegation"
pub(crate) fn top(hierarchy: &Hierarchy) -> Result<PathBuf> {
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
    if own.ends_with(HOST) {
        own.pop();
    }
    Ok(if own != mount && is_delegated(&own) { own } else { mount })
}
// ANCHOR_END: top

fn is_delegated(group: &Path) -> bool {
    // Root of a user namespace cannot read "trusted." attributes.
    if !rights::is_host_root() {
        let owner = fs::metadata(group).map(|meta| meta.uid());
        return owner.is_ok_and(|owner| owner == geteuid().as_raw());
    }
    let mut value = [0; 1];
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        let read = rustix::fs::getxattr(group, *name, &mut value[..]);
        read == Ok(1) && value == *b"1"
    })
}

/// In a group that was handed over, this process makes way: a group that hands
/// controllers down holds no processes.
///
/// # Errors
/// Those of mkdir(2), and of moving a process.
pub(crate) fn make_way(hierarchy: &Hierarchy) -> Result<()> {
    let top = top(hierarchy)?;
    if hierarchy.version == Version::V1 || top == hierarchy.mount {
        return Ok(());
    }
    let host = top.join(HOST);
    fs::create_dir_all(&host).step(|| format!("mkdir(2) {}", host.display()))?;
    let file = host.join("cgroup.procs");
    fs::write(&file, "0")
        .step(|| format!("write(2) 0 to {}", file.display()))
        .hint(hints::add)
}
