//! The two settings of the kernel that connected containers need.

use std::fs;

use anyhow::Result;
use common::step::{Hint, Step};
use nix::errno::Errno;

/// Whether the host forwards packets from one device to another.
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Whether this host forwards packets between its devices.
///
/// # Errors
/// Those of read(2).
pub fn forwards() -> Result<bool> {
    is_on(IP_FORWARD)
}

/// Make this host forward packets between its devices. Returns whether it did not
/// before. The caller says so then, because the host has become a router.
///
/// # Errors
/// EACCES or EPERM where the process may not change the setting, EROFS where /proc
/// is read-only.
/// # Source
/// ip(7), `ip_forward`
pub fn forward() -> Result<bool> {
    switch_on(IP_FORWARD)
}

/// Make this host drop packets that are for other hosts.
///
/// # Errors
/// As [`forward`].
pub fn stop_forwarding() -> Result<()> {
    set(IP_FORWARD, "0")
}

/// Let packets that this host sends to 127.0.0.0/8 leave on a bridge, once a rule has
/// changed their destination. Returns whether this was not possible before.
///
/// # Errors
/// As [`forward`]; ENOENT where there is no such device.
/// # Source
/// Documentation/networking/ip-sysctl.rst, `route_localnet`
pub fn route_localnet(bridge: &str) -> Result<bool> {
    switch_on(&format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"))
}

fn is_on(file: &str) -> Result<bool> {
    let text = fs::read_to_string(file).look(|| format!("read(2) {file}"))?;
    Ok(text.trim() != "0")
}

fn switch_on(file: &str) -> Result<bool> {
    if is_on(file)? {
        return Ok(false);
    }
    set(file, "1").map(|()| true)
}

fn set(file: &str, value: &str) -> Result<()> {
    let step = || format!("write(2) {value} to {file}");
    fs::write(file, value).step(step).hint(|errno| match errno {
        Errno::EACCES | Errno::EPERM => {
            Some("changing this setting needs root: use sudo".to_owned())
        }
        Errno::EROFS => Some(format!(
            "/proc is read-only here: on the host, run `echo {value} > {file}`"
        )),
        _ => None,
    })
}
