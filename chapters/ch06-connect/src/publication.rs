//! The published ports of a container. A later chapter sets them.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::state::Published;

/// The published ports of a container, and the sockets that prevent other programs
/// from binding them. All clones share one value.
#[derive(Clone, Debug, Default)]
pub struct Publication(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    ports: Vec<Published>,
    _sockets: Vec<OwnedFd>,
    address: Option<Ipv4Addr>,
}

impl Publication {
    /// Publish these ports. The sockets reserve them.
    pub fn set(&self, ports: Vec<Published>, sockets: Vec<OwnedFd>) {
        let mut inner = self.0.borrow_mut();
        (inner.ports, inner._sockets) = (ports, sockets);
    }

    /// Set the container's address.
    pub(crate) fn set_address(&self, address: Ipv4Addr) {
        self.0.borrow_mut().address = Some(address);
    }

    /// The container's address; `None` if it is not connected.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.0.borrow().address
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> Vec<Published> {
        self.0.borrow().ports.clone()
    }

    /// Release the ports.
    pub fn close(&self) {
        *self.0.borrow_mut() = Inner::default();
    }
}
