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
use crate::nft::{Batch, Hook, Place, Rules, Table};

/// The names of our tables begin with this.
pub const PREFIX: &str = "mydocker-";

/// Received packets to a published port get the container as their destination.
const ARRIVES: Hook =
    Hook { chain: "arrives", kind: "nat", place: Place::Prerouting, priority: -100 };
/// The same for packets that the host itself sends.
const OWN: Hook =
    Hook { chain: "own", kind: "nat", place: Place::Output, priority: -100 };
/// Packets whose answer would not find the way back get the host's address as their
/// source.
const LEAVES: Hook =
    Hook { chain: "leaves", kind: "nat", place: Place::Postrouting, priority: 100 };
/// `route_localnet` makes 127.0.0.1 routable on the bridge. This keeps containers away
/// from it. It comes before the connection tracking (-200).
const GUARD: Hook = Hook {
    chain: "guard",
    kind: "filter",
    place: Place::Prerouting,
    priority: -300,
};
/// Only published ports can be reached from outside of the bridge.
const FORWARD: Hook =
    Hook { chain: "forward", kind: "filter", place: Place::Forward, priority: 0 };

/// From include/uapi/linux/netlink.h: a message that is to be ignored.
const NLMSG_NOOP: u32 = 1;

/// The address 127.0.0.0 and the prefix length of all loopback addresses.
const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);

/// A table that exists as long as this value, or this process.
#[derive(Debug)]
pub struct OwnedTable {
    rules: Rules,
    table: Table,
}

/// Make the rules of a container on a bridge, all in one commit.
///
/// `subnet` and `prefix` are those of the bridge, `address` is the container's.
///
/// # Errors
/// As [`Rules::commit`]. Nothing has changed then.
pub fn open_table(
    id: &Id,
    bridge: &str,
    (subnet, prefix): (Ipv4Addr, u8),
    address: Ipv4Addr,
    published: &[Published],
) -> Result<OwnedTable> {
    let table = table_of(id, bridge);
    let messages = || batch(&table, bridge, (subnet, prefix), address, published);
    let rules = Rules::open()?;
    while_loading(|| rules.commit(messages()))?;
    Ok(OwnedTable { rules, table })
}

fn table_of(id: &Id, bridge: &str) -> Table {
    Table::owned_ip(format!("{PREFIX}{id}-{bridge}"))
}

// ANCHOR: tell
/// Tell the process that owns the rules of a container that the connection has ended.
///
/// The kernel knows the port of the socket that owns a table, and takes a message for it
/// from a process with CAP_NET_ADMIN. The message has no content. The owner waits for
/// any message, see [`OwnedTable::end`].
///
/// # Errors
/// EPERM without CAP_NET_ADMIN; those of the socket.
/// # Source
/// netlink(7), `nl_pid`, NLMSG_NOOP
pub fn tell_owner(id: &Id, bridge: &str) -> Result<()> {
    let rules = Rules::open()?;
    let Some(port) = rules.owner(&table_of(id, bridge))? else { return Ok(()) };
    let owner = SocketAddrNetlink::new(port, 0);
    // struct nlmsghdr: length, type and flags, sequence number, port.
    let message = [16, NLMSG_NOOP, 0, 0].map(u32::to_ne_bytes).concat();
    match sendto(rules.socket(), &message, SendFlags::DONTWAIT, &owner) {
        // It has just ended by itself, or it knows already.
        Err(Errno::CONNREFUSED | Errno::AGAIN) => Ok(()),
        sent => sent.map(drop).step(|| format!("sendto(2) netlink port {port}")),
    }
}
// ANCHOR_END: tell

/// The messages that make the table, its chains and its rules.
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
    // To the outside, the host speaks for the container.
    rule(LEAVES, &[container, OutputDevice(Not, bridge), Masquerade]);
    // A container would send its answer to 127.0.0.1 to itself.
    rule(LEAVES, &[loopback, OutputDevice(Equal, bridge), Masquerade]);
    // A neighbour's answer would go straight to its neighbour, which expects it from
    // the host.
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
    // A packet to 127.0.0.1 that came in from a network is forged. The kernel drops it
    // as long as no rule changes its destination before.
    if !port.address.is_some_and(|only| only.is_loopback()) {
        batch.append(table, ARRIVES.chain, &rule);
    }
}
// ANCHOR_END: publish

impl OwnedTable {
    /// The socket that owns the table. Others may use it for their own requests, which
    /// is faster than to open and close one.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A socket that becomes readable when another process calls [`tell_owner`]. It is
    /// the socket that owns the table: the table exists as long as a copy of it.
    ///
    /// A request with [`OwnedTable::rules`] would read the message too, and drop it.
    ///
    /// # Errors
    /// EMFILE.
    pub fn end(&self) -> Result<OwnedFd> {
        let socket = self.rules.socket().as_fd();
        socket.try_clone_to_owned().look(|| "dup(2) of a netlink socket")
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Delete the table now, which takes 30 to 80 µs. Returns the socket, which the
    /// caller closes as late as possible.
    ///
    /// close(2) waits until the kernel has freed the table: 5 to 15 ms, or 30 µs if
    /// that has happened already. Meanwhile other processes that change rules wait too.
    ///
    /// # Errors
    /// Those of the socket. The table is gone with the socket in any case.
    pub fn delete(self) -> Result<Rules> {
        let mut batch = Batch::new();
        batch.delete_table(&self.table);
        self.rules.commit(batch)?;
        Ok(self.rules)
    }
}
