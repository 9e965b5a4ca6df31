//! The group of a hierarchy below which this process creates groups.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::rights;
use nix::unistd::geteuid;

use crate::layout::{Hierarchy, Version, memberships};

/// The group for the process that creates other groups in a delegated group.
pub const HOST_GROUP: &str = "mydocker-host";

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
