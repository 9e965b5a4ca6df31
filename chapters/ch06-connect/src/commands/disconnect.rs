//! `network disconnect`: disconnect a running container from one network.

use std::os::fd::AsFd;

use anyhow::{Context as _, Result};
use ch02_net::Route;
use ch06_network::{Member, Network, Networks, shared};
use clap::Args;
use common::cli::{Context, Execute};
use common::state::Name;
use common::{Exit, Home};

use super::default_route::replace_default_route;
use super::running::{own_namespace, running};
use crate::firewall::tell_owner;
use crate::host_firewall::Firewall;
use crate::{host_end, host_firewall, hosts, undo};

/// Disconnect a running container from a network
#[derive(Args, Debug)]
pub struct Disconnect {
    /// Leave other firewalls of the host unchanged; print the commands to open them
    #[arg(long = "no-firewall")]
    no_firewall: bool,

    /// Name of the network
    network: Name,

    /// Name of the container, its ID, or a unique prefix of its ID
    container: String,
}

impl Execute for Disconnect {
    fn execute(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        let (_, _shared) = shared::enter_if_there(state)?;
        let (home, process) = running(context, &self.container)?;
        let namespace = own_namespace(&process, &self.container)?;
        let networks = Networks::lock(state)?;
        let network = Network::find(state, &self.network)?;
        let members = network.members(state)?;
        let me = members.iter().find(|member| member.id == home.id);
        let me = me.with_context(|| {
            format!(
                "container {} is not connected to network {}: `network inspect {1}` \
                 shows the connected containers",
                self.container, network.name
            )
        })?;
        take_back(&networks, &home, &network, &members, me)?;
        if undo::first_network(&home.notes()?).as_ref() == Some(&network.name) {
            // take_back() has informed the supervisor, which releases the ports.
            home.note_ports_released()?;
        }
        let firewall = Firewall::unless(self.no_firewall);
        replace_default_route(state, &home, namespace.as_fd(), firewall)?;
        Ok(Exit::Code(0))
    }
}

/// Remove the device, the names and the address. Also request the process that owns
/// the connection's firewall rules to remove them. The address is removed last, so
/// that a command that was killed can be repeated.
///
/// # Errors
/// EPERM if the caller lacks CAP_NET_ADMIN; a file cannot be written.
pub(super) fn take_back(
    networks: &Networks,
    home: &Home,
    network: &Network,
    members: &[Member],
    me: &Member,
) -> Result<()> {
    let (route, end) = (Route::open()?, host_end(&home.id, network));
    if route.links()?.iter().any(|link| link.name == end) {
        route.delete(&end)?;
    }
    tell_owner(&home.id, &network.bridge)?;
    hosts::withdraw(networks, &home.state, members, me)?;
    hosts::remove_network(networks, home, members, me)?;
    networks.disconnect(home, &network.name, me.address)?;
    host_firewall::close_if_unused(networks, &home.state, network)
}
