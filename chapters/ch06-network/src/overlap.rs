//! The addresses that are in use on this host. A network must not contain any of
//! them.
//!
//! A network with the same subnet as the host's own network would disconnect the
//! host: the bridge's route has the same prefix length as the route of the network
//! card, so replies to other hosts would go to the bridge.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use ch02_net::{Address, Link, Route, RouteEntry};

use crate::network::Network;
use crate::subnet::{Subnet, mask};

/// The shortest prefix that counts as in use. The default route is /0. Some VPNs add
/// two routes with the prefix /1 instead of replacing it; together, these are a
/// default route too.
const MIN_PREFIX: u8 = 2;

/// A range of addresses that is in use, and the description of its user for the
/// error text.
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

    #[cfg(test)]
    pub(crate) fn range(subnet: &str, user: &str) -> InUse {
        InUse { subnet: subnet.parse().unwrap(), user: user.to_owned() }
    }

    /// The addresses of a network of this state directory. Its bridge may not exist
    /// at the moment.
    pub(crate) fn network(network: &Network) -> InUse {
        let user =
            format!("the subnet {} of network {}", network.subnet, network.name);
        InUse { subnet: network.subnet, user }
    }
}

/// The routes and addresses of the host, except those of the device `own`.
///
/// # Errors
/// An errno of the netlink socket.
pub(crate) fn of_host(route: &Route, own: Option<&str>) -> Result<Vec<InUse>> {
    Ok(in_use(&route.links()?, &route.routes()?, &route.addresses()?, own))
}

/// The user of an address in this subnet, if there is one: a route, an address of
/// the host, or a network.
pub(crate) fn user<'a>(subnet: &Subnet, in_use: &'a [InUse]) -> Option<&'a str> {
    let found = in_use.iter().find(|it| it.subnet.overlaps(subnet));
    found.map(|it| it.user.as_str())
}

// ANCHOR: in_use
/// Routes come first, because a route says more than the address that caused it.
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
        // Routes of other types, such as unreachable, do not matter: the bridge's
        // route has a longer prefix and takes precedence.
        if route.kind == RouteEntry::UNICAST
            && route.prefix >= MIN_PREFIX
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

/// A route in the notation of ip-route(8).
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

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

    fn route(destination: &str, device: u32) -> RouteEntry {
        let (address, prefix) = destination.split_once('/').unwrap();
        RouteEntry {
            destination: address.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
            gateway: None,
            device: Some(device),
            kind: RouteEntry::UNICAST,
            table: ch02_net::TABLE_MAIN,
            metric: 0,
        }
    }

    fn links() -> Vec<Link> {
        let link = |index, name: &str| Link {
            index,
            name: name.to_owned(),
            up: true,
            loopback: false,
            flags: 0,
            operstate: 0,
            mac: None,
            mtu: 1500,
            kind: None,
            master: None,
            peer: None,
            peer_elsewhere: false,
            netns_local: None,
            alias: None,
        };
        vec![link(2, "eth0"), link(3, "web")]
    }

    fn used<'a>(subnet: &str, in_use: &'a [InUse]) -> Option<&'a str> {
        user(&subnet.parse().unwrap(), in_use)
    }

    #[test]
    fn a_route_and_an_address_are_named() {
        let mut lan = route("192.168.0.0/16", 2);
        lan.gateway = Some("10.0.0.1".parse().unwrap());
        let local =
            Address { index: 2, address: "10.0.0.9".parse().unwrap(), prefix: 24 };
        let in_use = in_use(&links(), &[lan], &[local], None);
        let lan = "the route 192.168.0.0/16 via 10.0.0.1 dev eth0";
        assert_eq!(used("192.168.10.0/24", &in_use), Some(lan));
        let local = "the address 10.0.0.9/24 of eth0";
        assert_eq!(used("10.0.0.0/16", &in_use), Some(local));
        assert_eq!(used("10.1.0.0/16", &in_use), None);
    }

    #[test]
    fn default_routes_and_routes_to_nowhere_do_not_count() {
        let mut unreachable = route("172.16.0.0/12", 2);
        unreachable.kind = RouteEntry::UNREACHABLE;
        // The routes with which a VPN replaces the default route.
        let halves = [route("0.0.0.0/1", 2), route("128.0.0.0/1", 2)];
        let routes = [[unreachable, route("0.0.0.0/0", 2)], halves].concat();
        let loopback = Address { index: 1, address: IpAddr::V4(ANY), prefix: 32 };
        let in_use = in_use(&links(), &routes, &[loopback], None);
        assert_eq!(used("172.17.0.0/16", &in_use), None);
    }

    #[test]
    fn its_own_bridge_does_not_count_but_another_network_does() {
        let routes = [route("172.17.0.0/16", 3), route("172.18.0.0/16", 2)];
        let address =
            Address { index: 3, address: [172, 17, 0, 1].into(), prefix: 16 };
        let mut own = in_use(&links(), &routes, &[address], Some("web"));
        assert_eq!(used("172.17.0.0/16", &own), None);
        assert!(used("172.18.4.0/24", &own).unwrap().contains("172.18.0.0/16"));
        let all = in_use(&links(), &routes, &[address], None);
        assert!(used("172.17.0.0/16", &all).unwrap().contains("dev web"));
        own.push(InUse::range("10.4.0.0/16", "the subnet 10.4.0.0/16 of network a"));
        assert!(used("10.4.9.0/24", &own).unwrap().contains("of network a"));
    }
}
