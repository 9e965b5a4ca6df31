//! The two kernel settings that connected containers need.

use std::fs;

use anyhow::Result;
use common::step::{Hint, Step};
use nix::errno::Errno;

/// Whether the host forwards packets from one device to another.
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Whether this host forwards packets between its devices.
///
/// # Errors
/// An errno of open(2) or read(2).
pub fn forwards() -> Result<bool> {
    is_on(IP_FORWARD)
}

/// Turn on forwarding between the host's devices. Returns whether it was off before.
/// Then the caller must report it, because the host has become a router.
///
/// # Errors
/// EACCES or EPERM if the process may not change the setting; EROFS if /proc is
/// read-only.
/// # Source
/// ip(7), `ip_forward`
pub fn forward() -> Result<bool> {
    switch_on(IP_FORWARD)
}

/// Turn off forwarding: the host drops packets for other hosts.
///
/// # Errors
/// The errors of [`forward`].
pub fn stop_forwarding() -> Result<()> {
    set(IP_FORWARD, "0")
}

/// Allow packets that this host sends to 127.0.0.0/8 to leave through a bridge after
/// a rule has changed their destination. Returns whether this was not allowed
/// before.
///
/// # Errors
/// The errors of [`forward`]; ENOENT if the device does not exist.
/// # Source
/// Documentation/networking/ip-sysctl.rst, `route_localnet`
pub fn route_localnet(bridge: &str) -> Result<bool> {
    switch_on(&format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"))
}

fn is_on(file: &str) -> Result<bool> {
    let text = fs::read_to_string(file).untraced(|| format!("read(2) {file}"))?;
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
