//! The part that publishes ports.

use anyhow::Result;
use ch06_connect::Publication;
use common::state::Published;
use common::{Part, Plan};
use nix::unistd::Pid;

use crate::Reservation;

/// The published ports of a container. It comes before the part that connects the
/// container to a network, which makes the firewall rules.
#[derive(Debug)]
pub struct Ports {
    wanted: Vec<Published>,
    publication: Publication,
}

impl Ports {
    /// These ports. A host port of 0 means: any free port.
    #[must_use]
    pub fn new(wanted: Vec<Published>, publication: Publication) -> Ports {
        Ports { wanted, publication }
    }
}

// ANCHOR: part
impl Part for Ports {
    fn name(&self) -> &'static str {
        "ports"
    }

    /// After the clone: the container's processes do not inherit the sockets.
    fn attach(&mut self, plan: &Plan, _child: Pid) -> Result<()> {
        let reservation = Reservation::take(&plan.home.state, &self.wanted)?;
        let (ports, sockets) = reservation.into_parts();
        plan.home.note_ports(&ports)?;
        self.publication.set(ports, sockets);
        Ok(())
    }
}
// ANCHOR_END: part
