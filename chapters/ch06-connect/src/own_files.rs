//! Each container's own files in `/etc`.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;

use anyhow::{Context, Result};
use common::state::OWN_FILES;
use common::step::{Hint, Step};
use common::{Home, OwnFile, Plan, hints};

use crate::flags::HostEntry;

// ANCHOR: write
/// Write `hosts`, `hostname` and `resolv.conf` to the container's directory, and add
/// them to the files to mount.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(plan: &mut Plan, hosts: &str, resolv_conf: &str) -> Result<()> {
    let etc = plan.home.etc();
    fs::create_dir(&etc)
        .untraced(|| format!("mkdir(2) {}", etc.display()))
        .hint(hints::state)?;
    let hostname = format!("{}\n", hostname(plan)?);
    for (name, text) in OWN_FILES.iter().zip([hosts, &hostname, resolv_conf]) {
        let host = etc.join(name);
        fs::write(&host, text)
            .untraced(|| format!("write(2) {}", host.display()))
            .hint(hints::state)?;
        plan.files.push(OwnFile { host, guest: format!("/etc/{name}").into() });
    }
    Ok(())
}
// ANCHOR_END: write

/// Read one of the files. Returns `None` for a container of an earlier chapter,
/// which has no such files.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(home: &Home, name: &str) -> Result<Option<String>> {
    let path = home.etc().join(name);
    match fs::read(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        text => {
            let text = text.untraced(|| format!("read(2) {}", path.display()))?;
            Ok(Some(String::from_utf8_lossy(&text).into_owned()))
        }
    }
}

/// The hostname of the container, chosen by the part for the UTS namespace.
///
/// # Errors
/// The plan has no hostname: the part for the UTS namespace is missing.
pub(crate) fn hostname(plan: &Plan) -> Result<String> {
    let name = plan.environment.get(std::ffi::OsStr::new("HOSTNAME"));
    let name = name.context("the container has no hostname of its own")?;
    Ok(name.to_string_lossy().into_owned())
}

/// The lines of `--add-host`. `host` is the address of the host on the network.
///
/// # Errors
/// An entry requests the host's address, but the container has no network with a
/// host.
pub(crate) fn lines(entries: &[HostEntry], host: Option<IpAddr>) -> Result<String> {
    let mut text = String::new();
    for HostEntry { name, address } in entries {
        let address = address.or(host).with_context(|| {
            format!(
                "--add-host {name}:host-gateway needs a network with a gateway: add \
                 --network NETWORK"
            )
        })?;
        text += &format!("{address}\t{name}\n");
    }
    Ok(text)
}

/// Read the host's /etc/hosts.
///
/// # Errors
/// It cannot be read.
pub(crate) fn hosts_of_host() -> Result<String> {
    match fs::read("/etc/hosts") {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => {
            let text = text.untraced(|| "read(2) /etc/hosts")?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let missing = !text.is_empty() && !text.ends_with('\n');
            Ok(if missing { text + "\n" } else { text })
        }
    }
}
