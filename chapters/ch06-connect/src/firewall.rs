//! The firewall rules of one container, in a table of its own.
//!
//! The table is owned by a socket of the container's supervisor. When that process
//! ends, even by SIGKILL, the kernel removes the table.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;
use ch02_net::while_loading;
use common::state::{Id, Published};
use common::step::Step;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{SendFlags, sendto};

use crate::nft::Expression::{
    ChangeDestination, Destination, DestinationIsLocal, DestinationPort, Drop,
    InputDevice, Masquerade, NewConnection, OutputDevice, Source, Translated,
};
use crate::nft::Is::{Equal, Not};
use crate::nft::{Batch, Hook, HookPoint, NftSocket, Table};

/// The prefix of the names of our tables.
pub const PREFIX: &str = "mydocker-";

/// Received packets to a published port get the container as their destination.
const ARRIVES: Hook = Hook {
    chain: "arrives",
    kind: "nat",
    place: HookPoint::Prerouting,
    priority: -100,
};
/// Packets to a published port that the host itself sends get the container, too.
const OWN: Hook =
    Hook { chain: "own", kind: "nat", place: HookPoint::Output, priority: -100 };
/// Packets whose reply would not find the way back get the host's address as their
/// source.
const LEAVES: Hook = Hook {
    chain: "leaves",
    kind: "nat",
    place: HookPoint::Postrouting,
    priority: 100,
};
/// `route_localnet` makes 127.0.0.1 routable on the bridge. This keeps containers
/// away from it. It comes before the connection tracking (-200).
const GUARD: Hook = Hook {
    chain: "guard",
    kind: "filter",
    place: HookPoint::Prerouting,
    priority: -300,
};
/// Only published ports can be reached from outside of the bridge.
const FORWARD: Hook = Hook {
    chain: "forward",
    kind: "filter",
    place: HookPoint::Forward,
    priority: 0,
};

/// From include/uapi/linux/netlink.h: a message that the receiver ignores.
const NLMSG_NOOP: u32 = 1;

/// The address 127.0.0.0 and the prefix length of all loopback addresses.
const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);

/// A table that exists until this value is dropped or this process ends.
#[derive(Debug)]
pub struct OwnedTable {
    rules: NftSocket,
    table: Table,
}

/// Create the rules of a container on a bridge, all in one commit.
///
/// `subnet` and `prefix` are those of the bridge, `address` is the container's.
///
/// # Errors
/// The errors of [`NftSocket::commit`]. After an error, nothing has changed.
pub fn open_table(
    id: &Id,
    bridge: &str,
    (subnet, prefix): (Ipv4Addr, u8),
    address: Ipv4Addr,
    published: &[Published],
) -> Result<OwnedTable> {
    let table = table_of(id, bridge);
    let messages = || batch(&table, bridge, (subnet, prefix), address, published);
    let rules = NftSocket::open()?;
    while_loading(|| rules.commit(messages()))?;
    Ok(OwnedTable { rules, table })
}

fn table_of(id: &Id, bridge: &str) -> Table {
    Table::owned_ip(format!("{PREFIX}{id}-{bridge}"))
}

// ANCHOR: tell
/// Tell the process that owns the rules of a container that the connection has
/// ended.
///
/// The kernel reports the port of the socket that owns a table. A process with
/// CAP_NET_ADMIN may send a message to this socket. The message has no content: the
/// owner waits for any message, see [`OwnedTable::end`].
///
/// # Errors
/// EPERM if the caller lacks CAP_NET_ADMIN; an errno of the netlink socket.
/// # Source
/// netlink(7), `nl_pid`, NLMSG_NOOP
pub fn tell_owner(id: &Id, bridge: &str) -> Result<()> {
    let rules = NftSocket::open()?;
    let Some(port) = rules.owner(&table_of(id, bridge))? else { return Ok(()) };
    let owner = SocketAddrNetlink::new(port, 0);
    // struct nlmsghdr: length, type and flags, sequence number, port.
    let message = [16, NLMSG_NOOP, 0, 0].map(u32::to_ne_bytes).concat();
    match sendto(rules.socket(), &message, SendFlags::DONTWAIT, &owner) {
        // The process has ended, or already has a message.
        Err(Errno::CONNREFUSED | Errno::AGAIN) => Ok(()),
        sent => sent.map(drop).step(|| format!("sendto(2) netlink port {port}")),
    }
}
// ANCHOR_END: tell

/// The messages that create the table, its chains and its rules.
fn batch(
    table: &Table,
    bridge: &str,
    (subnet, prefix): (Ipv4Addr, u8),
    address: Ipv4Addr,
    published: &[Published],
) -> Batch {
    let mut batch = Batch::new();
    batch.add_table(table);
    for hook in [LEAVES, GUARD, FORWARD] {
        batch.add_chain(table, hook);
    }
    if !published.is_empty() {
        batch.add_chain(table, ARRIVES);
        batch.add_chain(table, OWN);
    }
    for port in published {
        publish(&mut batch, table, port, address);
    }
    let mut rule = |hook: Hook, rule: &[_]| batch.append(table, hook.chain, rule);
    // ANCHOR: rules
    let loopback = Source(LOOPBACK.0, LOOPBACK.1);
    let container = Source(address, 32);
    let neighbour = Source(subnet, prefix);
    // For other hosts, the host's address replaces the container's.
    rule(LEAVES, &[container, OutputDevice(Not, bridge), Masquerade]);
    // A container would send its reply for 127.0.0.1 to itself.
    rule(LEAVES, &[loopback, OutputDevice(Equal, bridge), Masquerade]);
    // A container's reply would go directly to the other container, which expects it
    // from the host.
    let through_host = [neighbour, OutputDevice(Equal, bridge), Translated(Equal)];
    rule(LEAVES, &[&through_host[..], &[Masquerade]].concat());
    let from_bridge = InputDevice(Equal, bridge);
    rule(GUARD, &[from_bridge, Destination(LOOPBACK.0, LOOPBACK.1), Drop]);
    // With route_localnet the kernel accepts this source too, and a service of the
    // host could take the container for a process of the host.
    rule(GUARD, &[from_bridge, loopback, Drop]);
    let from_outside = [OutputDevice(Equal, bridge), InputDevice(Not, bridge)];
    let unpublished = [NewConnection, Translated(Not), Drop];
    rule(FORWARD, &[&from_outside[..], &unpublished[..]].concat());
    // ANCHOR_END: rules
    batch
}

// ANCHOR: publish
/// The rules of one published port.
fn publish(batch: &mut Batch, table: &Table, port: &Published, address: Ipv4Addr) {
    let destination = match port.address {
        None => DestinationIsLocal,
        Some(only) => Destination(only, 32),
    };
    let to = [destination, DestinationPort(port.protocol, port.host)];
    let rule = [&to[..], &[ChangeDestination(address, port.guest)]].concat();
    batch.append(table, OWN.chain, &rule);
    // A packet to 127.0.0.1 that came in from a network is forged. The kernel drops
    // it as long as no rule changes its destination before.
    if !port.address.is_some_and(|only| only.is_loopback()) {
        batch.append(table, ARRIVES.chain, &rule);
    }
}
// ANCHOR_END: publish

impl OwnedTable {
    /// The socket that owns the table. It may be used for other requests, which is
    /// faster than opening another socket.
    #[must_use]
    pub fn rules(&self) -> &NftSocket {
        &self.rules
    }

    /// A file descriptor that becomes readable when another process calls
    /// [`tell_owner`]. It is a copy of the socket that owns the table, so the table
    /// exists as long as this copy is open.
    ///
    /// A request with [`OwnedTable::rules`] would read this message and discard it.
    ///
    /// # Errors
    /// EMFILE.
    pub fn end(&self) -> Result<OwnedFd> {
        let socket = self.rules.socket().as_fd();
        socket.try_clone_to_owned().untraced(|| "dup(2) of a netlink socket")
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Delete the table now, which takes 30 to 80 µs. Returns the socket, which the
    /// caller closes as late as possible.
    ///
    /// close(2) waits until the kernel has freed the table. This takes 5 to 15 ms,
    /// or 30 µs if the table is already freed. During this time, other processes
    /// that change rules must wait too.
    ///
    /// # Errors
    /// An errno of the netlink socket. The kernel removes the table with the socket
    /// in any case.
    pub fn delete(self) -> Result<NftSocket> {
        let mut batch = Batch::new();
        batch.delete_table(&self.table);
        self.rules.commit(batch)?;
        Ok(self.rules)
    }
}
