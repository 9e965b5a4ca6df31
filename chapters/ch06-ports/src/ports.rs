//! The part that publishes ports.

use std::cell::RefCell;

use anyhow::Result;
use ch06_connect::Publication;
use common::state::Published;
use common::{Part, Plan, Running, Up};
use nix::unistd::Pid;

use crate::Reservation;
use crate::proxy::Proxy;

/// The published ports of a container. It comes before the part that connects the
/// container to a network, which makes the firewall rules.
#[derive(Debug)]
pub struct Ports {
    wanted: Vec<Published>,
    publication: Publication,
    /// Of an ordinary user: sockets of the host's network namespace, which clients
    /// connect to.
    listening: RefCell<Option<Reservation>>,
}

impl Ports {
    /// These ports. A host port of 0 means: any free port.
    #[must_use]
    pub fn new(wanted: Vec<Published>, publication: Publication) -> Ports {
        Ports { wanted, publication, listening: RefCell::default() }
    }

    /// The same for an ordinary user. The sockets were made before the process entered
    /// the network namespace of the user's containers; a proxy serves them.
    #[must_use]
    pub fn by_proxy(listening: Reservation, publication: Publication) -> Ports {
        let listening = RefCell::new(Some(listening));
        Ports { wanted: Vec::new(), publication, listening }
    }
}

// ANCHOR: part
impl Part for Ports {
    fn name(&self) -> &'static str {
        "ports"
    }

    /// After the clone: the container's processes do not inherit the sockets.
    fn attach(&mut self, plan: &Plan, _child: Pid) -> Result<()> {
        if let Some(listening) = &*self.listening.borrow() {
            return plan.home.note_ports(listening.ports());
        }
        let reservation = Reservation::take(&plan.home.state, &self.wanted)?;
        let (ports, sockets) = reservation.into_parts();
        plan.home.note_ports(&ports)?;
        self.publication.set(ports, sockets);
        Ok(())
    }

    /// An init process would keep the sockets.
    fn enter(&self, _plan: &Plan, _up: &Up) -> Result<()> {
        drop(self.listening.take());
        Ok(())
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        if let Some(listening) = self.listening.take() {
            let (ports, sockets) = listening.into_parts();
            running.watch(Proxy::new(self.publication.clone(), &ports, sockets)?);
        }
        Ok(())
    }
}
// ANCHOR_END: part
