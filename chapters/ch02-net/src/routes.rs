//! The routing table of IPv4.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::Result;
use common::step::{Hint, Step};
use nix::errno::Errno;

use crate::link::why;
use crate::netlink::{
    Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, attributes, number,
};
use crate::route::{AF_INET, Route};

// From include/uapi/linux/rtnetlink.h.
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_NOWHERE: u8 = 255;
const RTM_F_CLONED: u32 = 0x200;

/// The length in bytes of struct rtmsg, and of struct rtnexthop.
const RTMSG: usize = 12;
const RTNEXTHOP: usize = 8;

/// The routing table that is used unless a routing rule selects another one.
pub const TABLE_MAIN: u32 = 254;
/// The table of this host's own addresses, which the kernel maintains.
pub const TABLE_LOCAL: u32 = 255;

/// A route of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// The first address of the destination; 0.0.0.0 with the prefix 0 is the
    /// default route.
    pub destination: Ipv4Addr,
    /// The prefix length: the number of bits of the destination that must match.
    pub prefix: u8,
    /// The router to which packets are sent. `None` means that the destination is
    /// directly connected to the device. If the route has several next hops, this is
    /// the first.
    pub gateway: Option<Ipv4Addr>,
    /// The index of the device through which packets leave.
    pub device: Option<u32>,
    /// [`RouteEntry::UNICAST`] and the other types.
    pub kind: u8,
    /// The table: [`TABLE_MAIN`], [`TABLE_LOCAL`] or another.
    pub table: u32,
    /// The metric. Among routes to the same destination, the lowest metric wins.
    pub metric: u32,
}

impl RouteEntry {
    /// The type of a route to another host or network.
    pub const UNICAST: u8 = 1;
    /// The type of a route to an address of this host.
    pub const LOCAL: u8 = 2;
    /// The type of a route to a broadcast address.
    pub const BROADCAST: u8 = 3;
    /// The type of a route that drops packets without an answer.
    pub const BLACKHOLE: u8 = 6;
    /// The type of a route that rejects packets with "host unreachable".
    pub const UNREACHABLE: u8 = 7;
    /// The type of a route that rejects packets with "prohibited".
    pub const PROHIBIT: u8 = 8;

    /// The name of the type in ip-route(8).
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Self::UNICAST => "unicast",
            Self::LOCAL => "local",
            Self::BROADCAST => "broadcast",
            4 => "anycast",
            5 => "multicast",
            Self::BLACKHOLE => "blackhole",
            Self::UNREACHABLE => "unreachable",
            Self::PROHIBIT => "prohibit",
            9 => "throw",
            10 => "nat",
            _ => "unknown",
        }
    }
}

/// The destination: `default`, `10.0.0.0/8`.
impl fmt::Display for RouteEntry {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&destination_text(self.destination, self.prefix))
    }
}

impl Route {
    /// All IPv4 routes of all tables, including routes of type unreachable.
    ///
    /// # Errors
    /// sendto(2) or recv(2) fails, or the kernel answers with an error.
    pub fn routes(&self) -> Result<Vec<RouteEntry>> {
        let mut start = [0; RTMSG];
        start[0] = AF_INET;
        let request = Message::new(RTM_GETROUTE, NLM_F_DUMP).plain(&start);
        let answers = self.0.ask(request).untraced(|| "RTM_GETROUTE, all")?;
        Ok(answers.iter().filter_map(|answer| entry(answer)).collect())
    }

    /// Add a route to the main table, with a gateway, a device, or both. The prefix
    /// 0 means the default route.
    ///
    /// # Errors
    /// EEXIST if the table already has a route to the destination; ENETUNREACH if no
    /// route leads to the gateway; ENETDOWN if the device is down; EINVAL if bits of
    /// the destination after the prefix are not 0; ENODEV if the device does not
    /// exist; EPERM if the caller lacks CAP_NET_ADMIN.
    pub fn add_route(
        &self,
        destination: Ipv4Addr,
        prefix: u8,
        gateway: Option<Ipv4Addr>,
        device: Option<&str>,
    ) -> Result<()> {
        let target = Target { destination, prefix, gateway, device };
        // The scope is the distance to the destination: directly connected to the
        // device (link), or anywhere (universe).
        let scope =
            if gateway.is_some() { RT_SCOPE_UNIVERSE } else { RT_SCOPE_LINK };
        let start = rtmsg(prefix, RTPROT_BOOT, scope, RouteEntry::UNICAST);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let message = Message::new(RTM_NEWROUTE, flags).plain(&start);
        let request = self.add_attributes(message, &target)?;
        self.change(request, || format!("RTM_NEWROUTE {target}")).hint(|errno| {
            match errno {
                Errno::EEXIST => {
                    let to = destination_text(destination, prefix);
                    Some(format!("a route to {to} already exists"))
                }
                Errno::ENETUNREACH | Errno::EHOSTUNREACH => Some(
                    "no route leads to the gateway: give a device an address of the \
                     gateway's network first, and set the device up"
                        .to_owned(),
                ),
                Errno::ENETDOWN => Some("set the device up first".to_owned()),
                errno => target.why(errno),
            }
        })
    }

    /// Remove a route from the main table. If `gateway` and `device` are `None`, the
    /// first route to the destination is removed.
    ///
    /// # Errors
    /// ESRCH if the route does not exist; ENODEV if the device does not exist; EPERM
    /// if the caller lacks CAP_NET_ADMIN.
    pub fn remove_route(
        &self,
        destination: Ipv4Addr,
        prefix: u8,
        gateway: Option<Ipv4Addr>,
        device: Option<&str>,
    ) -> Result<()> {
        let target = Target { destination, prefix, gateway, device };
        // Protocol 0, type 0 and scope nowhere match every route.
        let start = rtmsg(prefix, 0, RT_SCOPE_NOWHERE, 0);
        let message = Message::new(RTM_DELROUTE, NLM_F_ACK).plain(&start);
        let request = self.add_attributes(message, &target)?;
        self.change(request, || format!("RTM_DELROUTE {target}")).hint(|errno| {
            match errno {
                Errno::ESRCH => Some("there is no such route".to_owned()),
                errno => target.why(errno),
            }
        })
    }

    /// Add the attributes of a route to a message.
    fn add_attributes(
        &self,
        mut message: Message,
        target: &Target,
    ) -> Result<Message> {
        if target.prefix > 0 {
            message = message.attribute(RTA_DST, &target.destination.octets());
        }
        if let Some(gateway) = target.gateway {
            message = message.attribute(RTA_GATEWAY, &gateway.octets());
        }
        if let Some(device) = target.device {
            let index = self.link(device)?.index;
            message = message.attribute(RTA_OIF, &index.to_ne_bytes());
        }
        Ok(message)
    }
}

/// The destination of a route, with its gateway and its device.
struct Target<'a> {
    destination: Ipv4Addr,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
    device: Option<&'a str>,
}

/// The notation of ip-route(8): `default via 10.0.0.1 dev eth0`.
impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&destination_text(self.destination, self.prefix))?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(device) = self.device {
            write!(f, " dev {device}")?;
        }
        Ok(())
    }
}

impl Target<'_> {
    fn why(&self, errno: Errno) -> Option<String> {
        let network = network_of(self.destination, self.prefix);
        match errno {
            Errno::EINVAL if network != self.destination => Some(format!(
                "the destination must be the first address of its network: \
                 {network}/{}",
                self.prefix
            )),
            errno => why(errno, self.device.unwrap_or_default()),
        }
    }
}

/// The first address of the network to which this address belongs.
pub(crate) fn network_of(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let host_bits = 32_u32.saturating_sub(prefix.into());
    let kept = u32::MAX.checked_shl(host_bits).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & kept)
}

/// struct rtmsg for the main table: family, prefixes of destination and source, TOS,
/// table, protocol (the origin of the route), scope, type, flags.
fn rtmsg(prefix: u8, protocol: u8, scope: u8, kind: u8) -> [u8; RTMSG] {
    let table = TABLE_MAIN as u8;
    [AF_INET, prefix, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0]
}

fn destination_text(destination: Ipv4Addr, prefix: u8) -> String {
    match prefix {
        0 => "default".to_owned(),
        _ => format!("{destination}/{prefix}"),
    }
}

/// Parse struct rtmsg and the attributes that follow. Returns `None` for a route of
/// another family, and for a cached route.
pub(crate) fn entry(answer: &[u8]) -> Option<RouteEntry> {
    let values = attributes(answer.get(RTMSG..)?);
    if answer[0] != AF_INET || number(answer, 8) & RTM_F_CLONED != 0 {
        return None;
    }
    let mut entry = RouteEntry {
        destination: Ipv4Addr::UNSPECIFIED,
        prefix: answer[1],
        gateway: None,
        device: None,
        kind: answer[7],
        // Table numbers above 255 are only in the attribute.
        table: answer[4].into(),
        metric: 0,
    };
    for (kind, value) in values {
        match kind {
            RTA_DST => entry.destination = ipv4(value)?,
            RTA_GATEWAY => entry.gateway = ipv4(value),
            RTA_OIF => entry.device = Some(number(value, 0)),
            RTA_PRIORITY => entry.metric = number(value, 0),
            RTA_TABLE => entry.table = number(value, 0),
            // struct rtnexthop: length, flags, hops, the device's index; attributes.
            RTA_MULTIPATH => {
                entry.device = Some(number(value, 4));
                let end = usize::from(u16::from_ne_bytes([
                    *value.first()?,
                    *value.get(1)?,
                ]));
                let hop = attributes(value.get(RTNEXTHOP..end).unwrap_or_default());
                let gateway = hop.iter().find(|(kind, _)| *kind == RTA_GATEWAY);
                entry.gateway = gateway.and_then(|(_, value)| ipv4(value));
            }
            _ => {}
        }
    }
    Some(entry)
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u8, prefix: u8, attributes: &[&[u8]]) -> Vec<u8> {
        let start = [AF_INET, prefix, 0, 0, 254, 2, 0, kind, 0, 0, 0, 0];
        [&start[..], &attributes.concat()].concat()
    }

    #[test]
    fn a_route_is_read_from_an_answer() {
        let read = entry(&answer(
            1,
            8,
            &[
                &[8, 0, 1, 0, 10, 0, 0, 0],
                &[8, 0, 5, 0, 192, 0, 2, 1],
                &[8, 0, 4, 0, 7, 0, 0, 0],
                &[8, 0, 6, 0, 100, 0, 0, 0],
                &[8, 0, 15, 0, 1, 1, 0, 0],
            ],
        ));
        let expected = RouteEntry {
            destination: Ipv4Addr::new(10, 0, 0, 0),
            prefix: 8,
            gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
            device: Some(7),
            kind: RouteEntry::UNICAST,
            table: 257,
            metric: 100,
        };
        assert_eq!(read, Some(expected));
        assert_eq!(expected.to_string(), "10.0.0.0/8");
        assert_eq!(expected.kind_name(), "unicast");
    }

    #[test]
    fn the_default_route_is_read_with_its_first_hop() {
        let hop = [
            16, 0, 0, 0, 7, 0, 0, 0, 8, 0, 5, 0, 192, 0, 2, 1, // the first
            8, 0, 0, 0, 8, 0, 0, 0, // the second
        ];
        let multipath = [&[28, 0, 9, 0], &hop[..]].concat();
        let read = entry(&answer(1, 0, &[&multipath])).unwrap_or_else(|| panic!());
        assert_eq!(read.to_string(), "default");
        assert_eq!(read.gateway, Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(read.device, Some(7));
    }

    #[test]
    fn unreachable_routes_are_recognized_and_other_answers_are_ignored() {
        let read = entry(&answer(7, 0, &[])).unwrap_or_else(|| panic!());
        assert_eq!((read.kind_name(), read.device), ("unreachable", None));
        let mut other = answer(1, 0, &[]);
        other[0] = 10;
        assert_eq!(entry(&other), None);
        let mut cloned = answer(1, 0, &[]);
        cloned[8..12].copy_from_slice(&RTM_F_CLONED.to_ne_bytes());
        assert_eq!(entry(&cloned), None);
        assert_eq!(entry(&[]), None);
        let short = answer(1, 0, &[&[4, 0, 9, 0]]);
        assert_eq!(entry(&short), None);
    }

    #[test]
    fn the_network_address_is_the_first_address() {
        let first = |address: [u8; 4], prefix| network_of(address.into(), prefix);
        assert_eq!(first([10, 1, 2, 3], 8).octets(), [10, 0, 0, 0]);
        assert_eq!(first([10, 1, 2, 3], 31).octets(), [10, 1, 2, 2]);
        assert_eq!(first([10, 1, 2, 3], 32).octets(), [10, 1, 2, 3]);
        assert_eq!(first([10, 1, 2, 3], 0).octets(), [0, 0, 0, 0]);
    }

    #[test]
    fn a_destination_with_host_bits_is_explained() {
        let hint = |text: [u8; 4], prefix| {
            let destination = text.into();
            let device = Some("eth0");
            let target = Target { destination, prefix, gateway: None, device };
            target.why(Errno::EINVAL)
        };
        let text = hint([10, 0, 0, 1], 8);
        assert!(text.is_some_and(|text| text.ends_with("10.0.0.0/8")));
        assert_eq!(hint([10, 0, 0, 1], 32), None);
    }
}
