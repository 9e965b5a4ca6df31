//! The firewall rules of a connection, from the start of the container to its end.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use anyhow::Result;
use ch06_network::Network;
use common::state::{Id, Protocol, Published, State};
use common::{Running, Watch, finish_in_background, step};
use rustix::event::{PollFd, PollFlags};

use crate::Publication;
use crate::conntrack;
use crate::firewall::{OwnedTable, open_table};
use crate::host_firewall::{self, Firewall};
use crate::nft;

/// The rules of one container, and its address. All clones share one value. The
/// clone in the poll loop takes the value out when the container is disconnected.
#[derive(Clone, Debug, Default)]
struct SharedTable(Rc<RefCell<Option<(OwnedTable, Ipv4Addr)>>>);

/// The firewall table of a connection, from its start to its end.
#[derive(Debug)]
pub(crate) struct ConnectionFirewall {
    publication: Publication,
    table_slot: SharedTable,
}

impl ConnectionFirewall {
    pub(crate) fn new(publication: Publication) -> ConnectionFirewall {
        ConnectionFirewall { publication, table_slot: SharedTable::default() }
    }

    /// Set the container's address.
    pub(crate) fn set_address(&self, address: Ipv4Addr) {
        self.publication.set_address(address);
    }

    /// Create the table.
    ///
    /// # Errors
    /// The kernel has no nf_tables; EPERM if the caller lacks CAP_NET_ADMIN.
    pub(crate) fn open(
        &self,
        container: &Id,
        network: &Network,
        address: Ipv4Addr,
    ) -> Result<()> {
        let ports = self.publication.ports();
        let bridge = network.bridge.as_str();
        let subnet = (network.subnet.address, network.subnet.prefix);
        let table = open_table(container, bridge, subnet, address, &ports)?;
        *self.table_slot.0.borrow_mut() = Some((table, address));
        Ok(())
    }

    /// Make sure that the host's own firewall lets the container's packets pass.
    ///
    /// # Errors
    /// The errors of [`host_firewall::open`].
    pub(crate) fn open_host_firewall(
        &self,
        state: &State,
        network: &Network,
        namespace: BorrowedFd,
        address: Ipv4Addr,
        firewall: Firewall,
    ) -> Result<()> {
        let table_slot = self.table_slot.0.borrow();
        let Some((table, _)) = table_slot.as_ref() else { return Ok(()) };
        host_firewall::open(
            table.rules(),
            state,
            network,
            namespace,
            address,
            firewall,
        )
    }

    /// Called when the program runs: remove the table and release the ports as soon
    /// as the container is disconnected.
    ///
    /// # Errors
    /// EMFILE.
    pub(crate) fn watch(&self, running: &mut Running) -> Result<()> {
        let ports = self.publication.ports();
        let Some((table, address)) = &*self.table_slot.0.borrow() else {
            return Ok(());
        };
        if ports.iter().any(|port| port.protocol == Protocol::Udp) {
            // This comes after the start, because the search of the connection
            // tracking table may take 30 ms.
            forget(*address, &ports);
        }
        let (publication, table_slot) =
            (self.publication.clone(), self.table_slot.clone());
        let end = Some(table.end()?);
        running.watch(UntilDisconnected { end, publication, table_slot });
        Ok(())
    }

    /// Remove the table and release the ports.
    ///
    /// # Errors
    /// EAGAIN or ENOMEM from clone3(2).
    pub(crate) fn close(&self) -> Result<()> {
        close(&self.publication, &self.table_slot)
    }
}

/// Delete the tracked connections of an earlier owner of the ports. Otherwise
/// packets of UDP clients would still go to a container that has ended. This uses a
/// new socket, because the socket of the table may already have a message, see
/// [`OwnedTable::end`].
fn forget(address: Ipv4Addr, ports: &[Published]) {
    let forgotten = nft::NftSocket::open()
        .and_then(|rules| conntrack::forget(&rules, address, ports));
    if let Err(error) = forgotten {
        let text = step::report(&error);
        step::warn(&format!(
            "{text}\nUDP clients of an earlier container may have to wait for a minute"
        ));
    }
}

/// Remove the rules first: while they exist, the port is not free.
fn close(publication: &Publication, table_slot: &SharedTable) -> Result<()> {
    let Some((table, address)) = table_slot.0.borrow_mut().take() else {
        return Ok(());
    };
    let deleted = table.delete();
    let ports = publication.ports();
    publication.close();
    let socket = deleted?;
    // Do this in the background, because both steps take 10 to 30 ms: the search of
    // the connection tracking table, and close(2) of the socket, which waits until
    // the kernel has freed the table.
    finish_in_background(socket.socket(), || {
        let _ = conntrack::forget(&socket, address, &ports);
    })
}

struct UntilDisconnected {
    /// `None` when the container was disconnected.
    end: Option<OwnedFd>,
    publication: Publication,
    table_slot: SharedTable,
}

impl Watch for UntilDisconnected {
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.end.iter().map(|end| PollFd::new(end, PollFlags::IN)));
    }

    fn ready(&mut self, events: &[PollFlags]) -> Result<()> {
        if events.first().is_some_and(|event| !event.is_empty()) {
            self.end = None;
            close(&self.publication, &self.table_slot)?;
        }
        Ok(())
    }
}
