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
    /// The prefix length: the number of its bits that belong to the network.
    pub prefix: u8,
}

impl Route {
    /// All IPv4 and IPv6 addresses of the namespace.
    ///
    /// # Errors
    /// An errno of sendto(2), recv(2) or the kernel's answer.
    pub fn addresses(&self) -> Result<Vec<Address>> {
        // struct ifaddrmsg, all zero: addresses of every family and device.
        let request = Message::new(RTM_GETADDR, NLM_F_DUMP).plain(&[0; 8]);
        let answers = self.0.ask(request).untraced(|| "RTM_GETADDR, all")?;
        Ok(answers.iter().filter_map(|answer| address(answer)).collect())
    }

    /// Add an address to a device. The first `prefix` bits of the address belong to
    /// the network. If the device is up, the kernel also adds the route to that
    /// network.
    ///
    /// # Errors
    /// EEXIST if the device has the address already; EINVAL if the prefix is above
    /// 32; ENODEV if the device does not exist; EPERM if the caller lacks
    /// CAP_NET_ADMIN.
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

    /// Remove an address from a device. The kernel also removes the route to its
    /// network.
    ///
    /// # Errors
    /// EADDRNOTAVAIL if the device does not have this address with this prefix;
    /// ENODEV if the device does not exist; EPERM if the caller lacks CAP_NET_ADMIN.
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

    /// Give a device no IPv6 address when it is set up. By default, the kernel gives
    /// each device a link-local address. The device must be down. On a host without
    /// IPv6, this does nothing.
    ///
    /// # Errors
    /// ENODEV if the device does not exist; EPERM if the caller lacks CAP_NET_ADMIN.
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

    /// A message about an address of the device with this name.
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
pub(crate) fn address(answer: &[u8]) -> Option<Address> {
    let values = attributes(answer.get(8..)?);
    let find = |kind| values.iter().find(|(it, _)| *it == kind).map(|(_, it)| *it);
    // On a point-to-point device, IFA_ADDRESS is the address of the other end. IPv6
    // addresses usually have no IFA_LOCAL.
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
