//! The veth pair between a container and the bridge of a network.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::{Result, bail};
use ch02_net::{Route, TargetNamespace, while_loading};
use ch06_network::Network;
use common::state::Id;

use crate::Mac;

/// The maximum time until the bridge port forwards. It usually takes a millisecond.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);

/// One container's connection to one network.
#[derive(Debug)]
pub struct Veth<'a> {
    /// The network.
    pub network: &'a Network,
    /// The container.
    pub container: &'a Id,
    /// The address of the container.
    pub address: Ipv4Addr,
    /// The hardware address of the container's device.
    pub mac: Mac,
}

/// The name of the host's end: `veth` and ten digits. It is derived from the two IDs, so
/// that it can be found again.
///
/// IFNAMSIZ leaves 15 bytes, and the IDs have 48 bits each: the digits are those of
/// base 32, of the exclusive or of both IDs. On one network, no two containers have the
/// same name, and one container has a different name on each network.
#[must_use]
pub fn host_end(container: &Id, network: &Network) -> String {
    let both = container.number() ^ network.id.number();
    let digit = |place: u32| char::from_digit((both >> (5 * place)) as u32 & 31, 32);
    "veth".chars().chain((0..10).rev().filter_map(digit)).collect()
}

impl Veth<'_> {
    // ANCHOR: create
    /// Create the veth pair. One end, with the address, is in the container's
    /// network namespace. The other end is a port of the bridge. The kernel removes
    /// both with the namespace.
    ///
    /// # Errors
    /// EPERM if the caller lacks CAP_NET_ADMIN in either namespace; EEXIST if a
    /// device with the same name exists; the container has no free device name.
    pub fn create(&self, namespace: BorrowedFd) -> Result<()> {
        let (host, guest) = (Route::open()?, Route::open_in(namespace)?);
        let (end, device) = (self.host_end(), free_name(&guest)?);
        // The peer is created in the container, so no device with this name exists
        // on the host at any time.
        let place = TargetNamespace::Namespace(namespace);
        let bridge = &self.network.bridge;
        while_loading(|| host.add_port(bridge, &end, &device, self.mac.0, place))?;
        guest.set_without_ipv6(&device)?;
        guest.add_address(&device, self.address, self.network.subnet.prefix)?;
        guest.set_up(&device)?;
        if !has_default_route(&guest)? {
            let (all, gateway) = (Ipv4Addr::UNSPECIFIED, self.network.gateway);
            guest.add_route(all, 0, Some(gateway), Some(&device))?;
        }
        Ok(())
    }

    /// Wait until the bridge port forwards. A packet that is sent earlier is lost,
    /// and ARP repeats a request only after a second.
    ///
    /// # Errors
    /// The port does not come up.
    pub fn wait(&self) -> Result<()> {
        let end = self.host_end();
        if !Route::open()?.wait_until_up(&end, PORT_TIMEOUT)? {
            bail!(
                "the bridge port {end} of network {} did not come up in {} s: look at \
                 the kernel log for the reason",
                self.network.name,
                PORT_TIMEOUT.as_secs()
            );
        }
        Ok(())
    }
    // ANCHOR_END: create

    /// The name of the host's end.
    #[must_use]
    pub fn host_end(&self) -> String {
        host_end(self.container, self.network)
    }
}

/// The first free name: eth0, eth1 and so on.
fn free_name(guest: &Route) -> Result<String> {
    let links = guest.links()?;
    let free = |name: &String| links.iter().all(|link| link.name != *name);
    match (0..100).map(|number| format!("eth{number}")).find(free) {
        Some(name) => Ok(name),
        None => bail!("the container has the devices eth0 to eth99: disconnect one"),
    }
}

pub(crate) fn has_default_route(guest: &Route) -> Result<bool> {
    Ok(guest.routes()?.iter().any(|route| route.prefix == 0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn name(container: &str, network: &str) -> String {
        let network = Network {
            name: "one".parse().unwrap(),
            id: network.parse().unwrap(),
            driver: ch06_network::Driver::Bridge,
            bridge: "one".to_owned(),
            subnet: "192.168.10.0/24".parse().unwrap(),
            gateway: Ipv4Addr::new(192, 168, 10, 1),
            created: 1,
        };
        host_end(&container.parse().unwrap(), &network)
    }

    #[test]
    fn the_port_name_depends_on_each_digit_of_both_ids() {
        let zeros = "000000000000";
        let mut names = BTreeSet::from([name(zeros, zeros)]);
        for place in 0..12 {
            for digit in "123456789abcdef".chars() {
                let mut id = zeros.to_owned();
                id.replace_range(place..=place, &digit.to_string());
                assert!(names.insert(name(&id, zeros)), "{id}");
                assert_eq!(name(zeros, &id), name(&id, zeros));
            }
        }
        assert_eq!(name(zeros, zeros), "veth0000000000");
        // 48 bits are nine digits of five bits, and three bits.
        assert_eq!(name("ffffffffffff", zeros), "veth7vvvvvvvvv");
    }
}
