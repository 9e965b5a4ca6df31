//! `network connect`: a further network for a container that runs.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Result, bail};
use ch02_net::{Route, RouteEntry};
use ch06_network::{Member, Network, Networks, shared};
use clap::Args;
use common::cli::{Act, Context};
use common::state::{Name, State};
use common::step::{Step, join_errors};
use common::{Exit, Home, Process, in_background, poll};
use rustix::event::{PollFd, PollFlags};

use super::disconnect::take_back;
use super::running::running;
use crate::connection::used;
use crate::firewall::open_table;
use crate::nft::Rules;
use crate::passage::{self, Firewall};
use crate::undo::CONNECTION;
use crate::wire::has_default_route;
use crate::{LinkWatch, Mac, Wire, hosts};

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

impl Act for Connect {
    fn act(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        let (_, _shared) = shared::enter_if_there(state)?;
        let (home, process) = running(context, &self.container)?;
        let namespace = own_namespace(&process, &self.container)?;
        let networks = Networks::lock(state)?;
        let network = used(state, &self.network)?;
        if network.members(state)?.iter().any(|member| member.id == home.id) {
            bail!(
                "container {} is already connected to network {}: `network disconnect` \
                 ends that",
                self.container,
                network.name
            );
        }
        let address = networks.claim(&network, &home, self.address, context.undo)?;
        let (id, name) = (home.id.clone(), home.name.clone());
        let me = Member { address, id, name };
        let connected = home
            .note(CONNECTION, network.name.as_str().as_bytes())
            .and_then(|()| hosts::publish(&networks, &network, state, &me))
            .and_then(|()| hosts::add_network(&networks, &network, &home, &me))
            .and_then(|()| connect(&home, &network, address, &namespace))
            .and_then(|()| {
                let firewall = Firewall::unless(self.no_firewall);
                let namespace = namespace.as_fd();
                open_passage(state, &network, namespace, address, firewall)
            });
        if let Err(error) = connected {
            // The container goes on without this network, and keeps nothing of it.
            let taken = take_back(&networks, &home, &network, &me);
            join_errors([Err(error), taken])?;
        }
        Ok(Exit::Code(0))
    }
}

/// The network namespace of the container, unless it is the host's.
pub(super) fn own_namespace(process: &Process, word: &str) -> Result<File> {
    let path = format!("/proc/{}/ns/net", process.pid);
    let namespace = File::open(&path).look(|| format!("open(2) {path}"))?;
    let of =
        |path: &str| std::fs::read_link(path).look(|| format!("readlink(2) {path}"));
    if of(&path)? == of("/proc/self/ns/net")? {
        bail!(
            "container {word} has the host's network (--network host): it cannot be \
             connected to another one"
        );
    }
    Ok(namespace)
}

// ANCHOR: connect
/// Lay the wire. The rules of the connection belong to a process that stays behind until
/// the device is removed, by `network disconnect` or with the container.
fn connect(
    home: &Home,
    network: &Network,
    address: Ipv4Addr,
    namespace: &File,
) -> Result<()> {
    let (container, mac) = (&home.id, Mac::of(address));
    let wire = Wire { network, container, address, mac };
    wire.lay(namespace.as_fd())?;
    let start = || {
        let link = LinkWatch::new(&wire.host_end())?;
        let subnet = (network.subnet.address, network.subnet.prefix);
        let table = open_table(container, &network.bridge, subnet, address, &[])?;
        Ok((link, table))
    };
    in_background(start, |(link, table)| {
        let mut ends = [PollFd::new(&link, PollFlags::IN)];
        // Nobody is left to be told of an error; the kernel removes the table.
        let _ = poll(&mut ends, None);
        drop(table);
    })?;
    wire.wait()
}
// ANCHOR_END: connect

/// Give a container that has lost its default route another one, through a network that
/// it is still connected to.
///
/// # Errors
/// Those of the netlink socket; as [`passage::open`].
pub(super) fn find_other_way_out(
    state: &State,
    home: &Home,
    namespace: BorrowedFd,
    firewall: Firewall,
) -> Result<()> {
    let guest = Route::open_in(namespace)?;
    if has_default_route(&guest)? {
        return Ok(());
    }
    let (links, addresses) = (guest.links()?, guest.addresses()?);
    for network in Network::all(state)?.into_iter().flatten() {
        let members = network.members(state)?;
        let me = members.into_iter().find(|member| member.id == home.id);
        let Some(Member { address, .. }) = me else { continue };
        let index =
            addresses.iter().find(|it| it.address == address).map(|it| it.index);
        let device = links.iter().find(|link| Some(link.index) == index);
        if let Some(device) = device {
            let (all, gateway) = (Ipv4Addr::UNSPECIFIED, Some(network.gateway));
            guest.add_route(all, 0, gateway, Some(&device.name))?;
            return open_passage(state, &network, namespace, address, firewall);
        }
    }
    Ok(())
}

/// Make sure that the host's own firewall lets the container's packets pass, if the
/// container's way to other hosts is this network.
fn open_passage(
    state: &State,
    network: &Network,
    namespace: BorrowedFd,
    address: Ipv4Addr,
    firewall: Firewall,
) -> Result<()> {
    let routes = Route::open_in(namespace)?.routes()?;
    let is_way_out = |route: &RouteEntry| {
        route.prefix == 0 && route.gateway == Some(network.gateway)
    };
    if !routes.iter().any(is_way_out) {
        return Ok(());
    }
    passage::open(&Rules::open()?, state, network, namespace, address, firewall)
}
