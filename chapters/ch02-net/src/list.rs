//! `list`: the devices of this network namespace.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::Result;
use common::step::Step;
use nix::errno::Errno;

use crate::link::{Link, colons};
use crate::route::Route;

const TITLES: [&str; 10] = [
    "INDEX",
    "NAME",
    "STATE",
    "MTU",
    "MAC",
    "FLAGS",
    "PEER",
    "MASTER",
    "NETNS-LOCAL",
    "ADDRESSES",
];

/// A flag of a device, and its letter.
///
/// # Source
/// netdevice(7), "SIOCGIFFLAGS"; netstat(8), "Flg"
const LETTERS: [(u32, char); 9] = [
    (0x200, 'A'),
    (0x2, 'B'),
    (0x8, 'L'),
    (0x1000, 'M'),
    (0x80, 'O'),
    (0x100, 'P'),
    (0x10, 'p'),
    (0x40, 'R'),
    (0x1, 'U'),
];

/// The table of all devices, with their addresses.
///
/// # Errors
/// An errno of the netlink socket; ENOENT if /proc is not mounted.
pub fn list() -> Result<String> {
    let route = Route::open()?;
    let (addresses, links) = (route.addresses()?, route.links()?);
    let mut rows = vec![TITLES.map(str::to_owned)];
    for link in &links {
        // The device may have been removed since the list was read.
        let Some(netns_local) = netns_local(&route, link)? else { continue };
        let name = |index: u32| {
            let found = links.iter().find(|other| other.index == index);
            found.map_or_else(|| format!("if{index}"), |other| other.name.clone())
        };
        let peer = match (link.peer, link.peer_elsewhere) {
            (None, _) => "-".to_owned(),
            (Some(index), false) => name(index),
            // In this namespace, the same number belongs to another device.
            (Some(index), true) => format!("if{index}"),
        };
        let of_link = addresses.iter().filter(|it| it.index == link.index);
        let addresses: Vec<_> =
            of_link.map(|it| format!("{}/{}", it.address, it.prefix)).collect();
        rows.push([
            link.index.to_string(),
            link.name.clone(),
            if link.up { "up" } else { "down" }.to_owned(),
            link.mtu.to_string(),
            link.mac.map_or_else(|| "-".to_owned(), colons),
            letters(link.flags),
            peer,
            link.master.map_or_else(|| "-".to_owned(), name),
            netns_local.to_owned(),
            addresses.join(" "),
        ]);
    }
    Ok(aligned(&rows))
}

fn letters(flags: u32) -> String {
    let set = LETTERS.into_iter().filter(|(flag, _)| flags & flag != 0);
    let letters: String = set.map(|(_, letter)| letter).collect();
    if letters.is_empty() { "-".to_owned() } else { letters }
}

/// Whether the device must stay in its namespace: reported by the kernel, or found
/// by a test request. `None` if the device does not exist any more.
fn netns_local(route: &Route, link: &Link) -> Result<Option<&'static str>> {
    let known = match link.netns_local {
        Some(known) => Some(known),
        None => {
            let path = "/proc/thread-self/ns/net";
            let own = File::open(path).untraced(|| format!("open(2) {path}"))?;
            match route.probe_netns_local(&link.name, own.as_fd()) {
                Err(e) if e.root_cause().downcast_ref() == Some(&Errno::ENODEV) => {
                    return Ok(None);
                }
                known => known?,
            }
        }
    };
    Ok(Some(known.map_or("?", |known| if known { "yes" } else { "no" })))
}

/// Format rows as lines. Each column is as wide as its longest value.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut table = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> =
            cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        table += line.join("  ").trim_end();
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_value() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let rows = [row("A", "B"), row("long", ""), row("x", "y z")];
        assert_eq!(aligned(&rows), "A     B\nlong\nx     y z\n");
    }

    #[test]
    fn flags_are_the_letters_of_netstat() {
        assert_eq!(letters(0x1_0049), "LRU");
        assert_eq!(letters(0x1_1043), "BMRU");
        assert_eq!(letters(0), "-");
    }
}
