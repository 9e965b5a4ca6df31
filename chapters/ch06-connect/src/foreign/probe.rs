//! Detect a foreign firewall with a packet, instead of reading its rules.
//!
//! The container sends one datagram to an address that no host has. Counters at
//! three hooks show how far it gets. The last rule also drops it, so it never leaves
//! the host.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use common::state::Id;
use common::step::Step;

use crate::firewall::PREFIX;
use crate::namespace::inside;
use crate::nft::Expression::{Counter, Destination, DestinationPort, Drop, Source};
use common::state::Protocol;

use crate::nft::{Batch, Hook, HookPoint, NftSocket, Table};

/// An address that is reserved for documentation, and the port of the protocol that
/// discards everything.
///
/// # Source
/// RFC 5737, RFC 863
const DESTINATION: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// Before all other chains.
const ARRIVED: Hook = Hook {
    chain: "arrived",
    kind: "filter",
    place: HookPoint::Prerouting,
    priority: i32::MIN,
};
const ROUTED: Hook = Hook {
    chain: "routed",
    kind: "filter",
    place: HookPoint::Forward,
    priority: i32::MIN,
};
/// After the filter chains, and before the source address is changed (100).
const PASSED: Hook = Hook {
    chain: "passed",
    kind: "filter",
    place: HookPoint::Postrouting,
    priority: 99,
};

/// The maximum time until the datagram arrives. The bridge may have to find out the
/// container's MAC address first.
const ARRIVAL_TIMEOUT: Duration = Duration::from_millis(1500);
/// The maximum time from there on. It is short, because the datagram stays on one
/// CPU.
const FORWARD_TIMEOUT: Duration = Duration::from_millis(5);

/// How far a datagram of a container got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The host forwards the container's packets.
    Passed,
    /// A foreign forward chain dropped it.
    Dropped,
    /// The host did not forward it: `ip_forward` is 0, there is no route to other
    /// hosts, or an earlier rule dropped it.
    NotForwarded,
    /// It did not arrive at the host: the container has no default route, or the
    /// bridge is not ready.
    NotArrived,
}

// ANCHOR: probe
/// Test whether this host forwards packets from a container. `namespace` is its
/// network namespace, and `address` is its address. The table of the test belongs to
/// `rules`.
///
/// Takes about one millisecond if the packets pass, 5 ms more if they do not, and
/// 1.5 seconds if they do not arrive.
///
/// # Errors
/// The errors of [`NftSocket::commit`]; an errno of setns(2).
pub fn probe(
    rules: &NftSocket,
    namespace: BorrowedFd,
    address: Ipv4Addr,
) -> Result<Probe> {
    let table = Table::owned_ip(format!("{PREFIX}probe-{}", Id::new()?));
    let mut batch = Batch::new();
    batch.add_table(&table);
    let (destination, port) = DESTINATION;
    let datagram = [
        Source(address, 32),
        Destination(destination, 32),
        DestinationPort(Protocol::Udp, port),
        Counter,
    ];
    for (hook, action) in [(ARRIVED, None), (ROUTED, None), (PASSED, Some(Drop))] {
        batch.add_chain(&table, hook);
        let rule: Vec<_> = datagram.into_iter().chain(action).collect();
        batch.append(&table, hook.chain, &rule);
    }
    rules.commit(batch)?;
    let found = inside(namespace, || send(address))
        .and_then(|()| watch(|hook| has_counted(rules, &table, hook)));
    let mut batch = Batch::new();
    batch.delete_table(&table);
    rules.commit(batch)?;
    found
}
// ANCHOR_END: probe

/// Watch the counters until they show how far the datagram got.
fn watch(seen: impl Fn(Hook) -> Result<bool>) -> Result<Probe> {
    let start = Instant::now();
    let mut arrived: Option<Instant> = None;
    loop {
        if seen(PASSED)? {
            return Ok(Probe::Passed);
        }
        match arrived {
            None if start.elapsed() > ARRIVAL_TIMEOUT => {
                return Ok(Probe::NotArrived);
            }
            None if seen(ARRIVED)? => arrived = Some(Instant::now()),
            Some(since) if since.elapsed() > FORWARD_TIMEOUT => {
                let routed = seen(ROUTED)?;
                return Ok(if routed {
                    Probe::Dropped
                } else {
                    Probe::NotForwarded
                });
            }
            _ => {}
        }
        sleep(Duration::from_micros(200));
    }
}

fn has_counted(rules: &NftSocket, table: &Table, hook: Hook) -> Result<bool> {
    let found = rules.rules(table, hook.chain)?;
    Ok(found.iter().any(|rule| rule.packets.is_some_and(|count| count > 0)))
}

/// Send the datagram. An error is ignored: without a route it is not sent, and the
/// counters show this.
fn send(address: Ipv4Addr) -> Result<()> {
    let socket = UdpSocket::bind((address, 0))
        .untraced(|| format!("bind(2) {address}, UDP, in the container"))?;
    let _ = socket.send_to(b"mydocker", DESTINATION);
    Ok(())
}
