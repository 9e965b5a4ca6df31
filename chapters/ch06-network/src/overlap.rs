//! Which addresses are in use on this host: a network must not have any of them.
//!
//! A network whose subnet is also that of the host's own network would take the host
//! off its network: the bridge's route is as long as that of the network card, and
//! the replies to other hosts would go to the bridge.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};
use ch02_net::{Address, Link, Route, RouteEntry};

use crate::network::Network;
use crate::subnet::{Subnet, mask};

/// The shortest prefix that counts. The default route is /0. Some VPNs leave it alone
/// and add two routes of /1 that cover it: these are a default route as well.
const SHORTEST: u8 = 2;

/// The kind of the routes that lead somewhere. Others, such as `unreachable`, only
/// answer for addresses that no longer route has, and a bridge's route is longer.
///
/// # Source
/// include/uapi/linux/rtnetlink.h
const RTN_UNICAST: u8 = 1;

/// A range of addresses that is in use, and what uses it, for the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InUse {
    subnet: Subnet,
    user: String,
}

impl InUse {
    fn new(address: Ipv4Addr, prefix: u8, user: String) -> InUse {
        let address = Ipv4Addr::from_bits(address.to_bits() & mask(prefix));
        InUse { subnet: Subnet { address, prefix }, user }
    }

    /// The addresses of a network of this state directory, whose bridge may not exist
    /// at the moment.
    pub(crate) fn network(network: &Network) -> InUse {
        let user = format!("the subnet {} of network {}", network.subnet, network.name);
        InUse { subnet: network.subnet, user }
    }

    /// Whether this subnet has addresses of the range.
    pub(crate) fn overlaps(&self, subnet: &Subnet) -> bool {
        self.subnet.overlaps(subnet)
    }
}

/// The routes and addresses of the host, without those of the device `own`.
///
/// # Errors
/// Those of the netlink socket.
pub(crate) fn of_host(route: &Route, own: Option<&str>) -> Result<Vec<InUse>> {
    Ok(in_use(&route.links()?, &route.routes()?, &route.addresses()?, own))
}

// ANCHOR: check
/// Make sure that a subnet has no address that is in use.
///
/// # Errors
/// It has; the error names the route, the address or the network.
pub(crate) fn check(subnet: &Subnet, in_use: &[InUse]) -> Result<()> {
    match in_use.iter().find(|it| it.overlaps(subnet)) {
        None => Ok(()),
        Some(InUse { user, .. }) => bail!(
            "the subnet {subnet} overlaps {user}: choose another --subnet, or leave it \
             out to get a free one"
        ),
    }
}
// ANCHOR_END: check

// ANCHOR: in_use
/// Routes first: a route tells more than the address that caused it.
fn in_use(
    links: &[Link],
    routes: &[RouteEntry],
    addresses: &[Address],
    own: Option<&str>,
) -> Vec<InUse> {
    let names: BTreeMap<u32, &str> =
        links.iter().map(|link| (link.index, link.name.as_str())).collect();
    let name = |index: u32| names.get(&index).copied().unwrap_or("?");
    let mut found = Vec::new();
    for route in routes {
        let device = route.device.map(name);
        if route.kind == RTN_UNICAST
            && route.prefix >= SHORTEST
            && (device.is_none() || device != own)
        {
            let RouteEntry { destination, prefix, .. } = route;
            found.push(InUse::new(*destination, *prefix, words(route, device)));
        }
    }
    for it in addresses {
        let device = name(it.index);
        if let IpAddr::V4(address) = it.address
            && Some(device) != own
        {
            let user = format!("the address {address}/{} of {device}", it.prefix);
            found.push(InUse::new(address, it.prefix, user));
        }
    }
    found
}
// ANCHOR_END: in_use

/// A route as ip-route(8) writes it.
fn words(route: &RouteEntry, device: Option<&str>) -> String {
    let mut words = format!("the route {}/{}", route.destination, route.prefix);
    if let Some(gateway) = route.gateway {
        words += &format!(" via {gateway}");
    }
    if let Some(device) = device {
        words += &format!(" dev {device}");
    }
    words
}
