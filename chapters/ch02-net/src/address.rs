//! The addresses of devices.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use common::step::{Hint, Step};
use nix::errno::Errno;

use crate::link::{RTM_NEWLINK, named, why};
use crate::netlink::{
    Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, attributes, number,
};
use crate::route::{AF_INET, Route};

// From include/uapi/linux/rtnetlink.h and if_addr.h.
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
// From include/uapi/linux/if_link.h.
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
/// From include/linux/socket.h.
const AF_INET6: u16 = 10;

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The device's index.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: u8,
}

impl Route {
    /// All addresses of the namespace, IPv4 and IPv6.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn addresses(&self) -> Result<Vec<Address>> {
        // struct ifaddrmsg, all zero: of every family and device.
        let request = Message::new(RTM_GETADDR, NLM_F_DUMP).plain(&[0; 8]);
        let answers = self.0.ask(request).look(|| "RTM_GETADDR, all")?;
        Ok(answers.iter().filter_map(|answer| address(answer)).collect())
    }

    /// Give a device an address, of whose bits the first `prefix` are the network's.
    /// The kernel adds the route to that network when the device is up.
    ///
    /// # Errors
    /// EEXIST if it has the address; EINVAL for a prefix above 32; ENODEV; EPERM
    /// without CAP_NET_ADMIN.
    pub fn add_address(
        &self,
        name: &str,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<()> {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let request = self.about(RTM_NEWADDR, flags, name, address, prefix)?;
        self.change(request, || format!("RTM_NEWADDR {address}/{prefix} to {name}"))
            .hint(|errno| match errno {
                Errno::EEXIST => Some(format!("{name} has this address already")),
                errno => why(errno, name),
            })
    }

    /// Take an address from a device, and with it the route to its network.
    ///
    /// # Errors
    /// EADDRNOTAVAIL if it has no such address with this prefix; ENODEV; EPERM.
    pub fn remove_address(
        &self,
        name: &str,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<()> {
        let request = self.about(RTM_DELADDR, NLM_F_ACK, name, address, prefix)?;
        self.change(request, || {
            format!("RTM_DELADDR {address}/{prefix} from {name}")
        })
        .hint(|errno| match errno {
            Errno::EADDRNOTAVAIL => {
                Some(format!("{name} does not have the address {address}/{prefix}"))
            }
            errno => why(errno, name),
        })
    }

    /// Let a device have no IPv6 address when it is set up; the kernel gives each device a
    /// link-local one otherwise. It must be down. A host without IPv6 has none anyway.
    ///
    /// # Errors
    /// ENODEV; EPERM.
    /// # Source
    /// ip-link(8), "addrgenmode none"
    pub fn set_without_ipv6(&self, name: &str) -> Result<()> {
        let request =
            named(RTM_NEWLINK, NLM_F_ACK, name)?.nest(IFLA_AF_SPEC, |families| {
                families.nest(AF_INET6, |ipv6| {
                    let none = [IN6_ADDR_GEN_MODE_NONE];
                    ipv6.attribute(IFLA_INET6_ADDR_GEN_MODE, &none)
                })
            });
        match self.0.ask(request) {
            Err(rustix::io::Errno::AFNOSUPPORT) => Ok(()),
            set => set
                .map(drop)
                .step(|| format!("RTM_NEWLINK {name} addrgenmode none"))
                .hint(|errno| why(errno, name)),
        }
    }

    /// A message about an address of the device of this name.
    fn about(
        &self,
        kind: u16,
        flags: u16,
        name: &str,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<Message> {
        let index = self.link(name)?.index;
        // struct ifaddrmsg: family, prefix, flags, scope, the device's index.
        let mut start = vec![AF_INET, prefix, 0, 0];
        start.extend(index.to_ne_bytes());
        Ok(Message::new(kind, flags)
            .plain(&start)
            .attribute(IFA_LOCAL, &address.octets())
            .attribute(IFA_ADDRESS, &address.octets()))
    }
}

/// Read struct ifaddrmsg and the attributes that follow.
fn address(answer: &[u8]) -> Option<Address> {
    let values = attributes(answer.get(8..)?);
    let find = |kind| values.iter().find(|(it, _)| *it == kind).map(|(_, it)| *it);
    // Of a line from point to point, IFA_ADDRESS is the other end's. IPv6 has no
    // IFA_LOCAL otherwise.
    let value = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
    let address = match value.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
    };
    Some(Address { index: number(answer, 4), address, prefix: answer[1] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_an_answer() {
        let mut answer = vec![AF_INET, 24, 0, 0];
        answer.extend(7_u32.to_ne_bytes());
        answer.extend([8, 0, 1, 0, 10, 0, 0, 2, 8, 0, 2, 0, 10, 0, 0, 1]);
        let local = IpAddr::from([10, 0, 0, 1]);
        let read = Address { index: 7, address: local, prefix: 24 };
        assert_eq!(address(&answer), Some(read));
        assert_eq!(address(&[]), None);
    }
}
