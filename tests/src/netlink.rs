//! The netlink messages that the laboratory needs: the tables and rules of
//! nf_tables, the addresses and routes of IPv4, and messages that create deliberate
//! leaks.

use std::collections::{BTreeMap, BTreeSet};
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
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// The table's name is attribute 1 of tables, of chains and of rules.
const TABLE: u16 = 1;
const TABLE_USE: u16 = 3;
const CHAIN_NAME: u16 = 3;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const FAMILY_INET: u8 = 1;
/// From include/uapi/linux/netlink.h.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
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

/// The tables, each with its number of objects, and the rules; empty without
/// nf_tables.
pub(crate) fn rules() -> BTreeSet<String> {
    let tables = dump(GET_TABLE).unwrap_or_default().into_iter().map(|table| {
        let used = number(table.get(TABLE_USE));
        format!("{} with {used}", table.name())
    });
    let rules = dump(GET_RULE).unwrap_or_default().into_iter().map(|rule| {
        let chain = text(rule.get(RULE_CHAIN));
        let handle = number(rule.get(RULE_HANDLE));
        format!("{} chain {chain} rule {handle}", rule.name())
    });
    tables.chain(rules).collect()
}

/// An object of nf_tables.
struct Object {
    family: u8,
    attributes: BTreeMap<u16, Vec<u8>>,
}

impl Object {
    fn read(body: &[u8]) -> Object {
        let family = body.first().copied().unwrap_or(0);
        let attributes = attributes(body.get(4..).unwrap_or_default());
        Object { family, attributes }
    }

    fn get(&self, attribute: u16) -> &[u8] {
        self.attributes.get(&attribute).map_or(&[], Vec::as_slice)
    }

    fn name(&self) -> String {
        format!("family {} table {}", self.family, text(self.get(TABLE)))
    }
}

fn attributes(mut rest: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    let mut attributes = BTreeMap::new();
    while let [a, b, c, d, ..] = *rest {
        let length = u16::from_ne_bytes([a, b]) as usize;
        let value = &rest[4..length.clamp(4, rest.len())];
        attributes.insert(u16::from_ne_bytes([c, d]), value.to_vec());
        rest = &rest[length.max(4).next_multiple_of(4).min(rest.len())..];
    }
    attributes
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn number(value: &[u8]) -> u64 {
    value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn dump(kind: u16) -> nix::Result<Vec<Object>> {
    let request = message(SUBSYSTEM << 8 | kind, DUMP, 0, 0, &[]);
    let bodies = answers(&open()?, &request)?;
    Ok(bodies.iter().map(|body| Object::read(body)).collect())
}

/// The bodies of the kernel's answers to a dump request.
fn answers(socket: &OwnedFd, request: &[u8]) -> nix::Result<Vec<Vec<u8>>> {
    send(socket, request)?;
    let mut found = Vec::new();
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
                _ => found.push(body.to_vec()),
            }
            rest = &rest[(length as usize).next_multiple_of(4).min(rest.len())..];
        }
    }
}

/// From include/uapi/linux/rtnetlink.h and if_addr.h.
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const GET_ROUTE: u16 = 26;
const LOCAL_ADDRESS: u16 = 2;
const ADDRESS: u16 = 1;
const DESTINATION: u16 = 1;
const DEVICE: u16 = 4;
const GATEWAY: u16 = 5;
const TABLE_NUMBER: u16 = 15;
const FAMILY_IPV4: u8 = 2;

/// The IPv4 addresses, with the indexes of their devices.
pub(crate) fn addresses() -> BTreeSet<String> {
    let address = |body: Vec<u8>| {
        let about = attributes(body.get(8..).unwrap_or_default());
        let prefix = body.get(1).copied().unwrap_or_default();
        let index = native(body.get(4..8).unwrap_or_default());
        format!("{}/{prefix} of {index}", dotted(about.get(&LOCAL_ADDRESS)))
    };
    ipv4(GET_ADDRESS, 8).into_iter().map(address).collect()
}

/// The IPv4 routes of all tables.
pub(crate) fn routes() -> BTreeSet<String> {
    let route = |body: Vec<u8>| {
        let about = attributes(body.get(12..).unwrap_or_default());
        let prefix = body.get(1).copied().unwrap_or_default();
        let kind = body.get(7).copied().unwrap_or_default();
        let number = |attribute| about.get(&attribute).map_or(0, |it| native(it));
        format!(
            "{}/{prefix} via {} dev {} type {kind} table {}",
            dotted(about.get(&DESTINATION)),
            dotted(about.get(&GATEWAY)),
            number(DEVICE),
            number(TABLE_NUMBER),
        )
    };
    ipv4(GET_ROUTE, 12).into_iter().map(route).collect()
}

/// Request a dump from rtnetlink(7). The fixed struct of the request has this length
/// and begins with the family.
fn ipv4(kind: u16, length: usize) -> Vec<Vec<u8>> {
    let mut body = vec![0; length];
    body[0] = FAMILY_IPV4;
    let asked =
        route_socket().and_then(|it| answers(&it, &rtnetlink(kind, DUMP, &body)));
    asked.expect("rtnetlink(7) answers")
}

fn rtnetlink(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

fn route_socket() -> nix::Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkRoute;
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
}

fn native(value: &[u8]) -> u32 {
    value.try_into().map_or(0, u32::from_ne_bytes)
}

fn dotted(value: Option<&Vec<u8>>) -> String {
    let bytes = value.map_or(&[][..], Vec::as_slice);
    let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
    if bytes.is_empty() { "-".to_owned() } else { bytes.join(".") }
}

/// Add a table, as a deliberate leak.
///
/// # Errors
/// The errno of the kernel.
pub fn add_table(name: &str) -> io::Result<()> {
    change(&[(NEW_TABLE, CREATE, body(&[(TABLE, name)]))])
}

/// Add a chain with an empty rule to a table.
///
/// # Errors
/// The errno of the kernel.
pub fn add_rule(table: &str) -> io::Result<()> {
    let chain = body(&[(TABLE, table), (CHAIN_NAME, "leak")]);
    let rule = body(&[(TABLE, table), (RULE_CHAIN, "leak")]);
    change(&[(NEW_CHAIN, CREATE, chain), (NEW_RULE, CREATE | APPEND, rule)])
}

/// Add a table with a chain that filters forwarded packets. If `drops` is set, the
/// chain drops them all.
///
/// # Errors
/// The errno of the kernel.
/// # Source
/// include/uapi/linux/netfilter/nf_tables.h, "enum `nft_chain_attributes`"
pub fn add_forward_chain(table: &str, chain: &str, drops: bool) -> io::Result<()> {
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    const TYPE: u16 = 7;
    const NESTED: u16 = 0x8000;
    const FORWARD: u32 = 2;
    let mut hook = Vec::new();
    attribute(&mut hook, 1, &FORWARD.to_be_bytes());
    attribute(&mut hook, 2, &0_u32.to_be_bytes());
    let mut about = body(&[(TABLE, table), (CHAIN_NAME, chain), (TYPE, "filter")]);
    attribute(&mut about, HOOK | NESTED, &hook);
    // NF_DROP, or NF_ACCEPT.
    let policy = u32::from(!drops);
    attribute(&mut about, POLICY, &policy.to_be_bytes());
    let table = body(&[(TABLE, table)]);
    change(&[(NEW_TABLE, CREATE, table), (NEW_CHAIN, CREATE, about)])
}

/// Delete a table with everything in it.
///
/// # Errors
/// The errno of the kernel.
pub fn delete_table(name: &str) -> io::Result<()> {
    change(&[(DELETE_TABLE, 0, body(&[(TABLE, name)]))])
}

fn body(attributes: &[(u16, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        attribute(&mut body, *kind, format!("{value}\0").as_bytes());
    }
    body
}

/// Send one transaction; the last message is acknowledged.
fn change(messages: &[(u16, u16, Vec<u8>)]) -> io::Result<()> {
    let mut batch = message(BATCH_BEGIN, 0, 0, SUBSYSTEM, &[]);
    for (at, (kind, flags, body)) in messages.iter().enumerate() {
        let ack = if at + 1 == messages.len() { ACK } else { 0 };
        let kind = SUBSYSTEM << 8 | kind;
        batch.extend(message(kind, flags | ack, FAMILY_INET, 0, body));
    }
    batch.extend(message(BATCH_END, 0, 0, SUBSYSTEM, &[]));
    let socket = open()?;
    send(&socket, &batch)?;
    acknowledged(&socket)
}

/// Add or delete a link of kind "bridge", as a deliberate leak.
///
/// # Errors
/// The errno of the kernel.
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
    let socket = route_socket()?;
    send(&socket, &rtnetlink(kind, flags, &body))?;
    acknowledged(&socket)
}

/// Add an address to lo (device 1) or delete it, as a deliberate leak.
///
/// # Errors
/// The errno of the kernel.
pub fn loopback_address(address: [u8; 4], add: bool) -> io::Result<()> {
    let mut body = vec![FAMILY_IPV4, 32, 0, 0, 1, 0, 0, 0];
    attribute(&mut body, LOCAL_ADDRESS, &address);
    attribute(&mut body, ADDRESS, &address);
    let (kind, flags) =
        if add { (NEW_ADDRESS, CREATE | ACK) } else { (DELETE_ADDRESS, ACK) };
    let socket = route_socket()?;
    send(&socket, &rtnetlink(kind, flags, &body))?;
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
