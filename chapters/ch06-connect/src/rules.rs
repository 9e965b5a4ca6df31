//! The firewall rules of a connection, from the start of the container to its end.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use anyhow::Result;
use ch06_network::Network;
use common::state::{Id, Protocol, Published, State};
use common::{Running, Watch, close_in_background, step};
use rustix::event::{PollFd, PollFlags};

use crate::Publication;
use crate::conntrack;
use crate::firewall::{OwnedTable, open_table};
use crate::link_watch::LinkWatch;
use crate::nft;
use crate::passage::{self, Firewall};
use crate::wire::host_end;

/// The table, which goes with the socket that made it. A copy in the poll loop gives it
/// up when the container is disconnected.
#[derive(Debug)]
pub(crate) struct Rules {
    publication: Publication,
    table: Rc<RefCell<Option<OwnedTable>>>,
    link: Option<LinkWatch>,
}

impl Rules {
    pub(crate) fn new(publication: Publication) -> Rules {
        Rules { publication, table: Rc::default(), link: None }
    }

    /// Make the table.
    ///
    /// # Errors
    /// The kernel has no nf_tables; EPERM without CAP_NET_ADMIN.
    pub(crate) fn open(
        &mut self,
        container: &Id,
        network: &Network,
        address: Ipv4Addr,
    ) -> Result<()> {
        let ports = self.publication.ports();
        let bridge = network.bridge.as_str();
        let subnet = (network.subnet.address, network.subnet.prefix);
        let table = open_table(container, bridge, subnet, address, &ports)?;
        if ports.iter().any(|port| port.protocol == Protocol::Udp) {
            forget(table.rules(), address, &ports);
        }
        *self.table.borrow_mut() = Some(table);
        // Now, as the program may end at once and take the device with it.
        self.link = Some(LinkWatch::new(&host_end(container, network))?);
        Ok(())
    }

    /// Make sure that the host's own firewall lets the container's packets pass.
    ///
    /// # Errors
    /// As [`passage::open`].
    pub(crate) fn open_passage(
        &self,
        state: &State,
        network: &Network,
        namespace: BorrowedFd,
        address: Ipv4Addr,
        firewall: Firewall,
    ) -> Result<()> {
        let table = self.table.borrow();
        let Some(table) = table.as_ref() else { return Ok(()) };
        passage::open(table.rules(), state, network, namespace, address, firewall)
    }

    /// Give the table and the ports up as soon as the container's device is removed.
    pub(crate) fn watch(&mut self, running: &mut Running) {
        if let Some(link) = self.link.take() {
            let (publication, table) =
                (self.publication.clone(), self.table.clone());
            running.watch(UntilDisconnected { link, publication, table });
        }
    }

    /// Remove the table and give the ports back.
    ///
    /// # Errors
    /// Those of the commit.
    pub(crate) fn close(&self) -> Result<()> {
        close(&self.publication, &self.table)
    }
}

/// Delete what the kernel remembers of earlier owners of the address and the ports: UDP
/// clients would go on sending to a container that has ended.
fn forget(rules: &nft::Rules, address: Ipv4Addr, ports: &[Published]) {
    if let Err(error) = conntrack::forget(rules, address, ports) {
        let text = step::report(&error);
        step::warn(&format!(
            "{text}\nUDP clients of an earlier container may have to wait for a minute"
        ));
    }
}

/// The rules go first: while they stand, the port is not free.
fn close(
    publication: &Publication,
    table: &RefCell<Option<OwnedTable>>,
) -> Result<()> {
    let deleted = table.borrow_mut().take().map(OwnedTable::delete);
    publication.close();
    let Some(socket) = deleted.transpose()? else { return Ok(()) };
    // The kernel makes the process wait for some 15 ms that closes the socket, until it
    // has freed the table.
    close_in_background(socket.socket())
}

struct UntilDisconnected {
    link: LinkWatch,
    publication: Publication,
    table: Rc<RefCell<Option<OwnedTable>>>,
}

impl Watch for UntilDisconnected {
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if self.table.borrow().is_some() {
            fds.push(PollFd::new(&self.link, PollFlags::IN));
        }
    }

    fn ready(&mut self, events: &[PollFlags]) -> Result<()> {
        if events.first().is_some_and(|event| !event.is_empty()) {
            close(&self.publication, &self.table)?;
        }
        Ok(())
    }
}
