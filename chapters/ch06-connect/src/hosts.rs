//! `/etc/hosts` of the containers of a network. Each container has its own file, and
//! every change of the network is written to all of them.
//!
//! A file is changed in place: it is bind-mounted in its container, and a bind mount
//! refers to the inode. A new file with the same name would not be visible in the
//! container.

use std::fs::File;
use std::io::{ErrorKind, Result as IoResult, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;

use anyhow::Result;
use ch06_network::{Claim, Member, Network, Networks};
use common::Home;
use common::state::State;
use common::step::Step;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, read};

use crate::own_files;

/// The first lines of every file.
///
/// # Source
/// hosts(5)
pub(crate) const LOOPBACK: &str =
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// The line for another container of the network.
pub(crate) fn line(member: &Member) -> String {
    let name = member.name.iter().map(|name| format!("{name} "));
    format!("{}\t{}{}\n", member.address, name.collect::<String>(), member.id)
}

/// The line for the container itself.
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
/// Append the line of a container to the files of these containers, which joined its
/// network earlier. Containers that joined later found its address, and already have
/// its line.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn publish(
    networks: &Networks,
    network: &Network,
    state: &State,
    claim: &Claim,
    others: &[Member],
) -> Result<()> {
    let line = line(&claim.me);
    let others = networks.still_connected(network, claim, others)?;
    change(state, others, OFlags::WRONLY | OFlags::APPEND, |mut file| {
        file.write_all(line.as_bytes())
    })
}

/// Remove the line of a container from the files of the other containers of its
/// network. Lines that the containers have written themselves stay.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn withdraw(
    _: &Networks,
    state: &State,
    members: &[Member],
    me: &Member,
) -> Result<()> {
    let line = line(me);
    let others = members.iter().filter(|it| it.id != me.id);
    change(state, others, OFlags::RDWR, |file| {
        remove_lines(&file, |it| it == line.as_bytes())
    })
}

/// Open the file of each of these containers, and change it. A container that has no
/// such file, or was removed in the meantime, is skipped.
fn change<'a>(
    state: &State,
    members: impl IntoIterator<Item = &'a Member>,
    flags: OFlags,
    change: impl Fn(File) -> IoResult<()>,
) -> Result<()> {
    // A network may have hundreds of containers. The kernel looks up a path of three
    // names faster than one of six or more.
    let containers = state.containers();
    let opened = File::open(&containers)
        .untraced(|| format!("open(2) {}", containers.display()))?;
    for member in members {
        let path = [member.id.as_str(), "/etc/hosts"].concat();
        let flags = flags | OFlags::CLOEXEC;
        match openat(&opened, &path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            file => file
                .map_err(Into::into)
                .and_then(|file| change(file.into()))
                .untraced(|| format!("write(2) {}/{path}", containers.display()))?,
        }
    }
    Ok(())
}
// ANCHOR_END: publish

/// Append the lines of another network to the container's own file.
///
/// # Errors
/// The container's hostname cannot be read, or its file cannot be written.
pub(crate) fn add_network(_: &Networks, home: &Home, claim: &Claim) -> Result<()> {
    let Some(hostname) = own_files::read(home, "hostname")? else {
        return Ok(());
    };
    let mut lines = own_line(claim.me.address, hostname.trim_end(), home);
    lines.extend(claim.others.iter().map(line));
    let path = home.etc().join("hosts");
    File::options()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .untraced(|| format!("write(2) {}", path.display()))
}

/// Remove the lines of a network from the container's own file, including the
/// container's own address in this network.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn remove_network(
    _: &Networks,
    home: &Home,
    members: &[Member],
    me: &Member,
) -> Result<()> {
    let path = home.etc().join("hosts");
    let lines: Vec<String> = members.iter().map(line).collect();
    let own = format!("{}\t", me.address);
    let goes = |it: &[u8]| {
        it.starts_with(own.as_bytes())
            || lines.iter().any(|line| line.as_bytes() == it)
    };
    match File::options().read(true).write(true).open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        file => file
            .and_then(|file| remove_lines(&file, goes))
            .untraced(|| format!("write(2) {}", path.display())),
    }
}

/// Remove lines from a file, in place.
fn remove_lines(file: &File, goes: impl Fn(&[u8]) -> bool) -> IoResult<()> {
    let text = read_whole(file)?;
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let same: usize =
        lines.clone().take_while(|it| !goes(it)).map(<[u8]>::len).sum();
    if same == text.len() {
        return Ok(());
    }
    let kept = lines.filter(|it| !goes(it)).collect::<Vec<_>>().concat();
    // The new text is shorter. A reader between the two calls may see some lines
    // twice, but never an empty file.
    file.write_all_at(&kept[same..], same as u64)?;
    file.set_len(kept.len() as u64)
}

/// Read a whole file, with one system call for the usual sizes.
fn read_whole(file: &File) -> IoResult<Vec<u8>> {
    let mut text = Vec::with_capacity(1 << 14);
    loop {
        let room = text.capacity() - text.len();
        // A regular file returns fewer bytes than requested only at its end.
        if read(file, spare_capacity(&mut text))? < room {
            return Ok(text);
        }
        text.reserve(room);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    #[test]
    fn a_line_is_removed_and_the_rest_stays() {
        let mut file = tempfile::tempfile().unwrap();
        let text = b"10.0.0.2\ta x\nown\xff\n10.0.0.3\tb y\nno break";
        file.write_all(text).unwrap();
        let mut remove = |line: &str| {
            file.rewind().unwrap();
            remove_lines(&file, |it| it == line.as_bytes()).unwrap();
            file.rewind().unwrap();
            read_whole(&file).unwrap()
        };
        assert_eq!(remove("10.0.0.3\tb\n"), text);
        assert_eq!(remove("10.0.0.2\ta x\n"), b"own\xff\n10.0.0.3\tb y\nno break");
        assert_eq!(remove("10.0.0.3\tb y\n"), b"own\xff\nno break");
        assert_eq!(remove("no break"), b"own\xff\n");
    }

    #[test]
    fn a_long_file_is_read_to_its_end() {
        for size in [0, 1, (1 << 14) - 1, 1 << 14, (1 << 16) + 1] {
            let mut file = tempfile::tempfile().unwrap();
            let text: Vec<u8> = (0..size).map(|at| at as u8).collect();
            file.write_all(&text).unwrap();
            file.rewind().unwrap();
            assert_eq!(read_whole(&file).unwrap(), text, "{size}");
        }
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
