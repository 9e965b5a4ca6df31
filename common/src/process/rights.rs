//! Which rights this process has: over its user namespace, and over the host.

use anyhow::Result;
use rustix::thread::{CapabilitySet, capabilities};

use crate::cli::step::Step;

/// Whether this process holds CAP_SYS_ADMIN in its effective set: what clone(2)
/// asks for every namespace but the user namespace.
///
/// Being uid 0 is not enough: inside another container root usually lacks it.
///
/// # Source
/// capget(2)
#[must_use]
pub fn privileged() -> bool {
    // Not from /proc/self/status: without a descriptor to read it by, root would be
    // taken for an ordinary user, and get a user namespace without a word.
    let sets = capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Whether this process is the host's root: privileged, and in the initial user
/// namespace.
///
/// Root of another user namespace may make containers as well, but it does not own what
/// belongs to the host: it cannot make device nodes, give files to users that its map
/// lacks, or write "trusted." attributes.
///
/// # Source
/// user_namespaces(7), "Capabilities"
///
/// # Errors
/// Those of readlink(2): a wrong guess would give a container other devices and rights.
pub fn is_host_root() -> Result<bool> {
    Ok(privileged() && in_initial_user_namespace()?)
}

/// Whether this process is in the initial user namespace: only there is UID 0 the
/// host's root. A full ID map is no sign of it, since root may give one to any
/// namespace.
///
/// # Source
/// include/linux/proc_ns.h, `PROC_USER_INIT_INO`
///
/// # Errors
/// Those of readlink(2).
pub fn in_initial_user_namespace() -> Result<bool> {
    let path = "/proc/self/ns/user";
    let link = std::fs::read_link(path).look(|| format!("readlink(2) {path}"))?;
    Ok(link.as_os_str() == "user:[4026531837]")
}
