//! The kernel's connection tracking table.
//!
//! The kernel decides once per connection where its packets go. A UDP client that
//! keeps sending from one port has one connection, so its packets would still go to
//! a container that has ended. After the entry is deleted, the kernel evaluates the
//! rules again.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use ch02_net::Route;
use ch02_net::netlink::{Message, NLM_F_ACK, NLM_F_DUMP, Socket, attributes};
use common::step::{Hint, Step};
use nix::errno::Errno;
use rustix::io;

use crate::nft::NftSocket;
use common::state::Published;

/// From include/uapi/linux/netfilter/nfnetlink_conntrack.h and nfnetlink.h.
const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const IPCTNL_MSG_CT_GET_STATS: u16 = 5;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const AF_INET: u8 = 2;

// ANCHOR: forget
/// Delete the entries of connections from and to a container's address, and to its
/// published ports. Returns the number of deleted entries.
///
/// A port that is published for the first time may have entries too, if a client
/// sent to the host itself. Only UDP needs this: a TCP client opens each connection
/// from a new port.
///
/// The kernel searches a table that all network namespaces share. This takes 9 to 30
/// ms for the usual 262,144 buckets (`net.netfilter.nf_conntrack_buckets`), so the
/// caller should do it after the container has started. If this network namespace
/// has no entry, it takes 10 µs.
///
/// # Errors
/// EPERM if the caller lacks CAP_NET_ADMIN; EINVAL if the kernel lacks
/// nf_conntrack_netlink. A container can run in spite of the error, so the caller
/// only warns.
pub fn forget(
    rules: &NftSocket,
    address: Ipv4Addr,
    published: &[Published],
) -> Result<usize> {
    let socket = rules.socket();
    if count(socket)? == 0 {
        return Ok(0);
    }
    // Connections to the same port of another host must stay.
    let local: Vec<IpAddr> =
        Route::open()?.addresses()?.iter().map(|it| it.address).collect();
    let is_local = |it: Ipv4Addr| it.is_loopback() || local.contains(&it.into());
    let request = message(IPCTNL_MSG_CT_GET, NLM_F_DUMP);
    let answers =
        socket.ask(request).untraced(|| "IPCTNL_MSG_CT_GET, all").hint(why)?;
    let entries = answers.iter().filter_map(|answer| Entry::read(answer));
    let mut deleted = 0;
    for entry in entries.filter(|it| it.concerns(address, published, is_local)) {
        let outcome = match socket.ask(entry.deletion()) {
            // The entry has expired in the meantime.
            Err(io::Errno::NOENT) => continue,
            outcome => outcome,
        };
        let Tuple { source, destination, .. } = entry.original;
        outcome
            .step(|| format!("IPCTNL_MSG_CT_DELETE {source} to {destination}"))?;
        deleted += 1;
    }
    Ok(deleted)
}
// ANCHOR_END: forget

/// The number of entries of this network namespace.
fn count(socket: &Socket) -> Result<u32> {
    let request = message(IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK);
    let answers =
        socket.ask(request).untraced(|| "IPCTNL_MSG_CT_GET_STATS").hint(why)?;
    // After struct nfgenmsg.
    let values = answers.first().and_then(|answer| answer.get(4..));
    let value = values.and_then(|values| find(values, CTA_STATS_GLOBAL_ENTRIES));
    let number = value.and_then(|value| value.try_into().ok());
    // If the answer lacks the number, assume that there are entries.
    Ok(number.map_or(u32::MAX, u32::from_be_bytes))
}

/// The addresses and ports of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tuple {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    /// The destination port, for protocols that have ports.
    port: Option<u16>,
}

/// A connection: the addresses of its first packet, and those of its replies. They
/// differ by more than the direction if a rule has changed an address.
struct Entry<'a> {
    original: Tuple,
    reply: Tuple,
    /// The attributes by which the kernel finds it.
    key: Vec<(u16, &'a [u8])>,
}

impl<'a> Entry<'a> {
    fn read(answer: &'a [u8]) -> Option<Entry<'a>> {
        // After struct nfgenmsg.
        let values = attributes(answer.get(4..)?);
        let find = |kind| values.iter().find(|(it, _)| *it == kind);
        let (_, original) = find(CTA_TUPLE_ORIG)?;
        let (_, reply) = find(CTA_TUPLE_REPLY)?;
        let key = [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID].into_iter().filter_map(find);
        Some(Entry {
            original: Tuple::read(original)?,
            reply: Tuple::read(reply)?,
            key: key.copied().collect(),
        })
    }

    fn concerns(
        &self,
        address: Ipv4Addr,
        published: &[Published],
        is_local: impl Fn(Ipv4Addr) -> bool,
    ) -> bool {
        let Entry { original, reply, .. } = self;
        let ends = [original, reply].map(|it| [it.source, it.destination]);
        ends.as_flattened().contains(&address)
            || published.iter().any(|port| {
                original.protocol == port.protocol.number()
                    && original.port == Some(port.host)
                    && port.address.is_none_or(|only| only == original.destination)
                    && is_local(original.destination)
            })
    }

    /// The request to delete this entry. It contains the whole tuple, because Linux
    /// 6.1 requires it. It also contains the ID of this entry, so that a new
    /// connection with the same tuple stays.
    fn deletion(&self) -> Message {
        let request = message(IPCTNL_MSG_CT_DELETE, NLM_F_ACK);
        self.key
            .iter()
            .fold(request, |request, (kind, value)| request.attribute(*kind, value))
    }
}

impl Tuple {
    /// Read a tuple of IPv4.
    fn read(bytes: &[u8]) -> Option<Tuple> {
        let ip = find(bytes, CTA_TUPLE_IP)?;
        let address =
            |kind| Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(ip, kind)?).ok()?));
        let protocol = find(bytes, CTA_TUPLE_PROTO)?;
        let port = find(protocol, CTA_PROTO_DST_PORT);
        Some(Tuple {
            source: address(CTA_IP_V4_SRC)?,
            destination: address(CTA_IP_V4_DST)?,
            protocol: *find(protocol, CTA_PROTO_NUM)?.first()?,
            port: port.and_then(|it| it.try_into().ok()).map(u16::from_be_bytes),
        })
    }
}

/// The value of the first attribute of this kind.
fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).into_iter().find(|(it, _)| *it == kind).map(|(_, value)| value)
}

/// A message about connections of IPv4. It begins with struct nfgenmsg: family,
/// version, and a number that is not used.
fn message(kind: u16, flags: u16) -> Message {
    Message::new(NFNL_SUBSYS_CTNETLINK << 8 | kind, flags).plain(&[AF_INET, 0, 0, 0])
}

fn why(errno: Errno) -> Option<String> {
    match errno {
        Errno::EINVAL => Some(
            "this kernel may lack nf_conntrack_netlink: try `modprobe \
             nf_conntrack_netlink`. Without this module, a UDP client that has \
             already sent to this port must wait until the kernel forgets the old \
             connection, or use another port"
                .to_owned(),
        ),
        Errno::EPERM => Some(
            "the list of connections needs CAP_NET_ADMIN in the user namespace that \
             the network namespace belongs to: use sudo"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::state::Protocol;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
    const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const OLD: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 9);
    const NEW: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 2);

    /// Whether a connection from the client to `to`, port 53, concerns the
    /// container. `by` sends the replies.
    fn concerns(protocol: Protocol, to: Ipv4Addr, by: Ipv4Addr) -> bool {
        let port = Some(53);
        let protocol = protocol.number();
        let original = Tuple { source: CLIENT, destination: to, protocol, port };
        let reply =
            Tuple { source: by, destination: CLIENT, protocol, port: Some(999) };
        let entry = Entry { original, reply, key: Vec::new() };
        let port = Published {
            protocol: Protocol::Udp,
            address: None,
            host: 53,
            guest: 5353,
        };
        entry.concerns(NEW, &[port], |it| it == HOST)
    }

    #[test]
    fn only_connections_through_this_host_are_concerned() {
        use Protocol::{Tcp, Udp};
        assert!(concerns(Udp, HOST, OLD));
        assert!(concerns(Udp, HOST, HOST));
        assert!(!concerns(Tcp, HOST, OLD));
        assert!(concerns(Tcp, HOST, NEW));
        assert!(concerns(Tcp, NEW, NEW));
        // The name server of another host.
        let other = Ipv4Addr::new(198, 51, 100, 1);
        assert!(!concerns(Udp, other, other));
    }
}
