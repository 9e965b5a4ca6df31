//! The firewall rules of a connection, from the start of the container to its end.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use anyhow::Result;
use ch06_network::Network;
use common::state::Id;
use common::{Running, Watch};
use rustix::event::{PollFd, PollFlags};

use crate::Publication;
use crate::firewall::{OwnedTable, open_table};
use crate::link_watch::LinkWatch;
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
        _namespace: BorrowedFd,
        _firewall: bool,
    ) -> Result<()> {
        let ports = self.publication.ports();
        let bridge = network.bridge.as_str();
        let subnet = (network.subnet.address, network.subnet.prefix);
        let table = open_table(container, bridge, subnet, address, &ports)?;
        *self.table.borrow_mut() = Some(table);
        // Now, as the program may end at once and take the device with it.
        self.link = Some(LinkWatch::new(&host_end(container, network))?);
        Ok(())
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

/// The rules go first: while they stand, the port is not free.
fn close(
    publication: &Publication,
    table: &RefCell<Option<OwnedTable>>,
) -> Result<()> {
    let deleted = table.borrow_mut().take().map(OwnedTable::delete);
    publication.close();
    deleted.transpose().map(drop)
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
