//! `/etc/hosts` of the containers of a network: each has a file of its own, and every
//! change of the network is written to all of them.
//!
//! A file is changed in place. It is mounted in its container, and a mount keeps the
//! inode: a new file of the same name would not be seen there.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ch06_network::{Member, Network, Networks};
use common::Home;
use common::state::State;
use common::step::Step;

use crate::own_files;

/// The first lines of every file.
///
/// # Source
/// hosts(5)
pub(crate) const LOOPBACK: &str =
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// The line of another container of the network.
pub(crate) fn line(member: &Member) -> String {
    let name = member.name.iter().map(|name| format!("{name} "));
    format!("{}\t{}{}\n", member.address, name.collect::<String>(), member.id)
}

/// The line of the container itself.
pub(crate) fn own_line(address: Ipv4Addr, hostname: &str, home: &Home) -> String {
    let mut names = vec![hostname];
    names.extend(home.name.as_ref().map(|name| name.as_str()));
    names.push(home.id.as_str());
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    format!("{address}\t{}\n", seen.join(" "))
}

// ANCHOR: publish
/// Append the line of a container to the files of all others of its network.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn publish(
    _: &Networks,
    network: &Network,
    state: &State,
    me: &Member,
) -> Result<()> {
    let line = line(me);
    for path in files_of_others(network, state, me)? {
        match File::options().append(true).open(&path) {
            // It has no such file, or is gone by now.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            file => file
                .and_then(|mut file| file.write_all(line.as_bytes()))
                .look(|| format!("write(2) {}", path.display()))?,
        }
    }
    Ok(())
}

/// Remove the line of a container from the files of all others of its network. What the
/// containers have written there themselves stays.
///
/// # Errors
/// A file that cannot be read or written.
pub(crate) fn withdraw(
    _: &Networks,
    network: &Network,
    state: &State,
    me: &Member,
) -> Result<()> {
    let line = line(me);
    for path in files_of_others(network, state, me)? {
        remove_line(&path, &line)?;
    }
    Ok(())
}
// ANCHOR_END: publish

/// Append the lines of a further network to the container's own file.
///
/// # Errors
/// The container's hostname cannot be read, or its file cannot be written.
pub(crate) fn add_network(
    _: &Networks,
    network: &Network,
    home: &Home,
    me: &Member,
) -> Result<()> {
    let Some(hostname) = own_files::read(home, "hostname")? else {
        return Ok(());
    };
    let others =
        network.members(&home.state)?.into_iter().filter(|it| it.id != me.id);
    let mut lines = own_line(me.address, hostname.trim_end(), home);
    lines.extend(others.map(|it| line(&it)));
    let path = home.etc().join("hosts");
    File::options()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .look(|| format!("write(2) {}", path.display()))
}

/// Remove the lines of a network, and of the own address on it, from the container's own
/// file.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn remove_network(
    _: &Networks,
    network: &Network,
    home: &Home,
    me: &Member,
) -> Result<()> {
    let path = home.etc().join("hosts");
    for member in network.members(&home.state)? {
        remove_line(&path, &line(&member))?;
    }
    remove_lines(&path, |it| it.starts_with(format!("{}\t", me.address).as_bytes()))
}

fn files_of_others(
    network: &Network,
    state: &State,
    me: &Member,
) -> Result<Vec<PathBuf>> {
    let others = network.members(state)?.into_iter().filter(|it| it.id != me.id);
    Ok(others.map(|it| path(state, &it)).collect())
}

fn path(state: &State, member: &Member) -> PathBuf {
    let home = Home { id: member.id.clone(), name: None, state: state.clone() };
    home.etc().join("hosts")
}

/// Remove a line from a file, in place.
fn remove_line(path: &Path, line: &str) -> Result<()> {
    remove_lines(path, |it| it == line.as_bytes())
}

fn remove_lines(path: &Path, goes: impl Fn(&[u8]) -> bool) -> Result<()> {
    let text = match fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.look(|| format!("read(2) {}", path.display()))?,
    };
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let kept = lines.filter(|it| !goes(it)).collect::<Vec<_>>().concat();
    if kept == text {
        return Ok(());
    }
    // The new text is shorter. A reader between the two calls sees some lines twice, and
    // never an empty file.
    let write = |file: File| {
        file.write_all_at(&kept, 0)?;
        file.set_len(kept.len() as u64)
    };
    File::options()
        .write(true)
        .open(path)
        .and_then(write)
        .look(|| format!("write(2) {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_removed_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        fs::write(&path, b"10.0.0.2\ta x\nown\xff\n10.0.0.3\tb y\nno break")
            .unwrap();
        remove_line(&path, "10.0.0.2\ta x\n").unwrap();
        remove_line(&path, "10.0.0.3\tb\n").unwrap();
        remove_line(&dir.path().join("none"), "x\n").unwrap();
        let kept = b"own\xff\n10.0.0.3\tb y\nno break";
        assert_eq!(fs::read(&path).unwrap(), kept);
    }

    #[test]
    fn a_line_has_the_address_the_name_and_the_id() {
        let member = |name: Option<&str>| Member {
            address: Ipv4Addr::new(10, 0, 0, 2),
            id: "aaaa00000000".parse().unwrap(),
            name: name.map(|name| name.parse().unwrap()),
        };
        assert_eq!(line(&member(Some("web"))), "10.0.0.2\tweb aaaa00000000\n");
        assert_eq!(line(&member(None)), "10.0.0.2\taaaa00000000\n");
    }
}
