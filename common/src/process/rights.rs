//! The privileges of this process in its user namespace and on the host.

use anyhow::Result;
use rustix::thread::{CapabilitySet, capabilities};

use crate::cli::step::Step;

/// Whether this process has CAP_SYS_ADMIN in its effective set. clone3(2) requires
/// it for every namespace except the user namespace.
///
/// UID 0 is not enough: inside another container, root usually lacks this
/// capability.
///
/// # Source
/// capget(2)
#[must_use]
pub fn privileged() -> bool {
    // Do not read /proc/self/status for this. If no descriptor were free, the read
    // would fail, and root would silently get a user namespace, as an ordinary user
    // does.
    let sets = capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Whether this process is the host's root: privileged, and in the initial user
/// namespace.
///
/// Root of another user namespace can create containers as well, but it has no
/// privileges over the host's resources: it cannot create device nodes, give files
/// to users that are not in its ID map, or write "trusted." attributes.
///
/// # Source
/// user_namespaces(7), "Capabilities"
///
/// # Errors
/// readlink(2) fails. A guess could give a container the wrong devices and
/// privileges.
pub fn is_host_root() -> Result<bool> {
    Ok(privileged() && in_initial_user_namespace()?)
}

/// Whether this process is in the initial user namespace. Only there is UID 0 the
/// host's root. A full ID map does not prove this, because root can give one to any
/// user namespace.
///
/// # Source
/// include/linux/proc_ns.h, `PROC_USER_INIT_INO`
///
/// # Errors
/// readlink(2) fails.
pub fn in_initial_user_namespace() -> Result<bool> {
    let path = "/proc/self/ns/user";
    let link =
        std::fs::read_link(path).untraced(|| format!("readlink(2) {path}"))?;
    Ok(link.as_os_str() == "user:[4026531837]")
}
