//! `network connect`: connect a running container to another network.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use anyhow::{Context as _, Result, bail, ensure};
use ch02_net::Route;
use ch06_network::{Claim, Network, Networks, shared};
use clap::Args;
use common::cli::{Context, Execute};
use common::state::Name;
use common::step::join_errors;
use common::{Exit, Home, in_background, poll};
use rustix::event::{PollFd, PollFlags};

use super::default_route::open_host_firewall;
use super::disconnect::take_back;
use super::running::{not_running, own_namespace, running, too_late};
use crate::connection::used;
use crate::firewall::open_table;
use crate::host_firewall::Firewall;
use crate::undo::CONNECTION;
use crate::{Mac, Veth, hosts, own_files, resolv_conf};

/// Connect a running container to a network
#[derive(Args, Debug)]
pub struct Connect {
    /// IPv4 address of the container [default: the next free address]
    #[arg(long = "ip", value_name = "ADDRESS")]
    address: Option<Ipv4Addr>,

    /// Leave other firewalls of the host unchanged; print the commands to open them
    #[arg(long = "no-firewall")]
    no_firewall: bool,

    /// Name of the network
    network: Name,

    /// Name of the container, its ID, or a unique prefix of its ID
    container: String,
}

impl Execute for Connect {
    fn execute(self, context: &Context) -> Result<Exit> {
        let (here, _shared) = shared::enter_if_there(&context.state)?;
        let (home, process) = running(context, &self.container)?;
        // No container of this user has a network.
        ensure!(here, too_late(&self.container));
        let namespace = own_namespace(&process, &self.container)?;
        match self.connect(context, &home, &namespace) {
            // The container has ended in the meantime: its files and its namespace
            // no longer exist.
            Err(error) if process.has_ended() => {
                Err(error.context(not_running(&self.container)))
            }
            connected => connected.map(|()| Exit::Code(0)),
        }
    }
}

impl Connect {
    fn connect(
        &self,
        context: &Context,
        home: &Home,
        namespace: &File,
    ) -> Result<()> {
        let state = &context.state;
        let networks = Networks::lock(state)?;
        let network = used(state, &self.network)?;
        if network.members(state)?.iter().any(|member| member.id == home.id) {
            bail!(
                "container {} is already connected to network {}: use `network \
                 disconnect` first",
                self.container,
                network.name
            );
        }
        let first = home.notes()?.of(CONNECTION).next().is_none();
        let claim = networks.claim(&network, home, self.address, context.undo)?;
        let address = claim.me.address;
        let connected = home
            .note(CONNECTION, network.name.as_str().as_bytes())
            .and_then(|()| {
                hosts::publish(&networks, &network, state, &claim, &claim.others)
            })
            .and_then(|()| hosts::add_network(&networks, home, &claim))
            .and_then(|()| connect(home, &network, address, namespace))
            .and_then(|()| {
                let firewall = Firewall::unless(self.no_firewall);
                let namespace = namespace.as_fd();
                open_host_firewall(state, &network, namespace, address, firewall)
            });
        if let Err(error) = connected {
            // Undo everything: the container continues without this network.
            let Claim { me, others, .. } = &claim;
            let taken = take_back(&networks, home, &network, others, me);
            join_errors([Err(error), taken])?;
        }
        if first && let Some(servers) = own_files::read(home, "resolv.conf")? {
            resolv_conf::warn_without_server(&servers)?;
        }
        Ok(())
    }
}

// ANCHOR: connect
/// Create the veth pair. The firewall rules of the connection belong to a background
/// process. It runs until `network disconnect` tells it to end, or until the
/// container ends.
fn connect(
    home: &Home,
    network: &Network,
    address: Ipv4Addr,
    namespace: &File,
) -> Result<()> {
    let (container, mac) = (&home.id, Mac::of(address));
    let veth = Veth { network, container, address, mac };
    veth.create(namespace.as_fd())?;
    // A container that was started without a network has a loopback device that is
    // down.
    Route::open_in(namespace.as_fd())?.set_up("lo")?;
    let start = || {
        let program = home.program()?.context("the container has just ended")?;
        let subnet = (network.subnet.address, network.subnet.prefix);
        let table = open_table(container, &network.bridge, subnet, address, &[])?;
        Ok((program, table.end()?, table))
    };
    in_background(start, |(program, end, table)| {
        let mut ends =
            [&end, &program.fd].map(|end| PollFd::new(end, PollFlags::IN));
        // The caller has ended, so an error cannot be reported. The kernel removes
        // the table in any case.
        let _ = poll(&mut ends, None);
        drop(table);
    })?;
    veth.wait()
}
// ANCHOR_END: connect
