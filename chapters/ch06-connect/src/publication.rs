//! What a container publishes: a later chapter fills it.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::firewall::Published;

/// The published ports of a container, and the sockets that keep other programs from
/// taking them. All copies are the same value.
#[derive(Clone, Debug, Default)]
pub struct Publication(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    ports: Vec<Published>,
    sockets: Vec<OwnedFd>,
}

impl Publication {
    /// Add a port and the socket that reserves it.
    pub fn add(&self, port: Published, socket: OwnedFd) {
        let mut inner = self.0.borrow_mut();
        inner.ports.push(port);
        inner.sockets.push(socket);
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> Vec<Published> {
        self.0.borrow().ports.clone()
    }

    /// Give the ports back: the container is not connected any more.
    pub fn close(&self) {
        *self.0.borrow_mut() = Inner::default();
    }
}
