//! What a container publishes: a later chapter fills it.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::state::Published;

/// The published ports of a container, and the sockets that keep other programs from
/// taking them. All copies are the same value.
#[derive(Clone, Debug, Default)]
pub struct Publication(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    ports: Vec<Published>,
    _sockets: Vec<OwnedFd>,
    address: Option<Ipv4Addr>,
}

impl Publication {
    /// Publish these ports; the sockets reserve them.
    pub fn set(&self, ports: Vec<Published>, sockets: Vec<OwnedFd>) {
        let mut inner = self.0.borrow_mut();
        (inner.ports, inner._sockets) = (ports, sockets);
    }

    /// The container has this address now.
    pub(crate) fn leads_to(&self, address: Ipv4Addr) {
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

    /// Give the ports back.
    pub fn close(&self) {
        *self.0.borrow_mut() = Inner::default();
    }
}
