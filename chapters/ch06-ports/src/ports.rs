//! The part that publishes ports.

use anyhow::Result;
use ch06_connect::Publication;
use common::state::Published;
use common::{Part, Plan, Running};
use nix::unistd::Pid;

use crate::Reservation;
use crate::proxy::Proxy;

/// The part for the published ports of a container. It comes before the part that
/// connects the container to a network and creates the firewall rules.
#[derive(Debug)]
pub struct Ports {
    wanted: Vec<Published>,
    publication: Publication,
    /// For an ordinary user: sockets in the host's network namespace, to which
    /// clients connect.
    listening: Option<Reservation>,
}

impl Ports {
    /// Create the part for these ports. The host port 0 means any free port.
    #[must_use]
    pub fn new(wanted: Vec<Published>, publication: Publication) -> Ports {
        Ports { wanted, publication, listening: None }
    }

    /// Create the part for an ordinary user. The sockets were created before the
    /// process entered the network namespace of the user's containers. A proxy
    /// serves them.
    #[must_use]
    pub fn by_proxy(listening: Reservation, publication: Publication) -> Ports {
        Ports { wanted: Vec::new(), publication, listening: Some(listening) }
    }
}

// ANCHOR: part
impl Part for Ports {
    fn name(&self) -> &'static str {
        "ports"
    }

    /// This hook runs after the clone, so the container's processes do not inherit
    /// the sockets.
    fn attach(&mut self, plan: &Plan, _child: Pid) -> Result<()> {
        if let Some(listening) = &self.listening {
            return plan.home.note_ports(listening.ports());
        }
        let reservation = Reservation::take(&plan.home.state, &self.wanted)?;
        let (ports, sockets) = reservation.into_parts();
        plan.home.note_ports(&ports)?;
        self.publication.set(ports, sockets);
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
