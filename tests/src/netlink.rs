//! The netlink messages that the laboratory needs: nf_tables as far as a leak shows
//! (which tables there are, and how full), and the making of deliberate leaks.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv,
    sendto, socket,
};

/// From include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h.
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const TABLE_NAME: u16 = 1;
const TABLE_USE: u16 = 3;
const FAMILY_INET: u8 = 1;
/// From include/uapi/linux/netlink.h.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
const DONE: u16 = 3;

fn message(
    kind: u16,
    flags: u16,
    family: u8,
    subsystem: u16,
    body: &[u8],
) -> Vec<u8> {
    let length = 20 + body.len() as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, 0]);
    bytes.extend(subsystem.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn open() -> nix::Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkNetFilter;
    socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> nix::Result<usize> {
    sendto(socket.as_raw_fd(), bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())
}

/// The tables: family, name, number of objects. None without nf_tables.
pub(crate) fn tables() -> BTreeSet<String> {
    read_tables().unwrap_or_default()
}

fn read_tables() -> nix::Result<BTreeSet<String>> {
    let socket = open()?;
    send(&socket, &message(SUBSYSTEM << 8 | GET_TABLE, DUMP, 0, 0, &[]))?;
    let mut found = BTreeSet::new();
    let mut bytes = vec![0; 65536];
    loop {
        let count = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        let mut rest = &bytes[..count];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]);
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let body = &rest[16..(length as usize).clamp(16, rest.len())];
            match kind {
                DONE | ERROR => return Ok(found),
                _ => drop(found.insert(table(body))),
            }
            rest = &rest[(length as usize).next_multiple_of(4).min(rest.len())..];
        }
    }
}

fn table(body: &[u8]) -> String {
    let family = body.first().copied().unwrap_or(0);
    let (mut name, mut used) = (String::new(), 0);
    let mut rest = body.get(4..).unwrap_or_default();
    while let [a, b, c, d, ..] = *rest {
        let length = u16::from_ne_bytes([a, b]) as usize;
        let value = &rest[4..length.clamp(4, rest.len())];
        match u16::from_ne_bytes([c, d]) {
            TABLE_NAME => name = String::from_utf8_lossy(value).into_owned(),
            TABLE_USE => used = value.try_into().map_or(0, u32::from_be_bytes),
            _ => {}
        }
        rest = &rest[length.max(4).next_multiple_of(4).min(rest.len())..];
    }
    format!("family {family} table {} with {used}", name.trim_end_matches('\0'))
}

/// Add a table, to see whether it is noticed.
///
/// # Errors
/// The kernel's.
pub fn add_table(name: &str) -> io::Result<()> {
    change(NEW_TABLE, CREATE, name)
}

/// Delete it again.
///
/// # Errors
/// The kernel's.
pub fn delete_table(name: &str) -> io::Result<()> {
    change(DELETE_TABLE, 0, name)
}

fn change(kind: u16, flags: u16, name: &str) -> io::Result<()> {
    let mut body = Vec::new();
    attribute(&mut body, TABLE_NAME, format!("{name}\0").as_bytes());
    let kind = SUBSYSTEM << 8 | kind;
    let mut batch = message(BATCH_BEGIN, 0, 0, SUBSYSTEM, &[]);
    batch.extend(message(kind, flags | ACK, FAMILY_INET, 0, &body));
    batch.extend(message(BATCH_END, 0, 0, SUBSYSTEM, &[]));
    let socket = open()?;
    send(&socket, &batch)?;
    acknowledged(&socket)
}

/// Add or delete a link of kind "bridge", to see whether it is noticed.
///
/// # Errors
/// The kernel's.
pub fn bridge_link(name: &str, add: bool) -> io::Result<()> {
    // From include/uapi/linux/rtnetlink.h and if_link.h.
    const NEW_LINK: u16 = 16;
    const DELETE_LINK: u16 = 17;
    const EXCLUSIVE: u16 = 0x200;
    let mut body = vec![0; 16];
    attribute(&mut body, 3, format!("{name}\0").as_bytes());
    let mut kind = Vec::new();
    attribute(&mut kind, 1, b"bridge\0");
    attribute(&mut body, 18, &kind);
    let (kind, flags) =
        if add { (NEW_LINK, CREATE | EXCLUSIVE | ACK) } else { (DELETE_LINK, ACK) };
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    let protocol = SockProtocol::NetlinkRoute;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    send(&socket, &bytes)?;
    acknowledged(&socket)
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The kernel's answer to a request with the ACK flag.
fn acknowledged(socket: &OwnedFd) -> io::Result<()> {
    let mut answer = [0; 4096];
    recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}
