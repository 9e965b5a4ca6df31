//! Disconnect a running container from a network, and detect such disconnections.

use std::net::Ipv4Addr;

use anyhow::Result;
use common::Home;
use common::state::Name;

use crate::addresses::{Claim, Member, release};
use crate::disconnections;
use crate::network::Network;
use crate::networks::Networks;

impl Networks<'_> {
    /// Release the address of a container that continues without the network.
    ///
    /// # Errors
    /// write(2), readlink(2) or unlink(2) fails.
    pub fn disconnect(
        &self,
        home: &Home,
        network: &Name,
        address: Ipv4Addr,
    ) -> Result<()> {
        // Record this first. Otherwise, a kill between the two steps would hide the
        // disconnection.
        disconnections::add(self.state, network)?;
        release(home, network, address)
    }

    /// These other containers of a claim, without containers that were disconnected
    /// after the claim.
    ///
    /// # Errors
    /// stat(2), readdir(3) or readlink(2) fails.
    pub fn still_connected<'a>(
        &self,
        network: &Network,
        claim: &Claim,
        others: &'a [Member],
    ) -> Result<Vec<&'a Member>> {
        let others = others.iter();
        if disconnections::number(self.state, &network.name)? == claim.disconnections
        {
            return Ok(others.collect());
        }
        let members = network.members(self.state)?;
        Ok(others.filter(|it| members.contains(it)).collect())
    }
}
