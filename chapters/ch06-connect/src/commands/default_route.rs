//! The default route of a container with several networks.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use anyhow::Result;
use ch02_net::{Route, RouteEntry};
use ch06_network::{Member, Network};
use common::Home;
use common::state::State;

use crate::host_firewall::{self, Firewall};
use crate::nft::NftSocket;
use crate::veth::has_default_route;

/// Give a container without a default route a new one, through a network to which it
/// is still connected.
///
/// # Errors
/// An errno of the netlink socket; the errors of [`host_firewall::open`].
pub(super) fn replace_default_route(
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
            return open_host_firewall(
                state, &network, namespace, address, firewall,
            );
        }
    }
    Ok(())
}

/// If the container's default route leads through this network, make sure that the
/// host's own firewall lets its packets pass.
pub(super) fn open_host_firewall(
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
    host_firewall::open(
        &NftSocket::open()?,
        state,
        network,
        namespace,
        address,
        firewall,
    )
}
