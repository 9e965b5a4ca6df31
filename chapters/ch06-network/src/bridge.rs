//! The bridge of a network: a switch in the kernel, with the gateway's address.

use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use ch02_net::{Link, Route, RouteEntry, TABLE_MAIN, is_device_name, while_loading};
use common::state::{Id, Name};
use nix::errno::Errno;

use crate::network::Network;
use crate::overlap::{of_host, user};

/// The maximum number of attempts if other processes create or remove the bridge at
/// the same time.
const ATTEMPTS: usize = 20;

/// The name of the bridge: the network's name if it is a valid device name,
/// otherwise `br-` and the network's ID.
///
/// # Source
/// `dev_valid_name` in net/core/dev.c; `sysctl_dev_name_is_allowed` for all and
/// default
pub(crate) fn bridge_name(name: &Name, id: &Id) -> String {
    let name = name.as_str();
    if is_device_name(name) && !["all", "default"].contains(&name) {
        name.to_owned()
    } else {
        bridge_by_id(id)
    }
}

/// The name of a bridge that does not have the name of its network.
pub(crate) fn bridge_by_id(id: &Id) -> String {
    format!("br-{id}")
}

/// The alias that marks a bridge as ours.
fn alias(id: &Id) -> String {
    format!("mydocker network {id}")
}

/// The MAC address for this IPv4 address in a network: `02:42` and the four bytes of
/// the address. So if an address is assigned again, its MAC address is the one that
/// the other hosts already know.
///
/// The bridge needs a MAC address too. Without one, it takes the lowest MAC address
/// of its ports. This changes when a container starts or ends, and the containers
/// would still send to the old one.
///
/// # Source
/// `br_stp_recalculate_bridge_id` in net/bridge/br_stp_if.c
#[must_use]
pub fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

impl Network {
    // ANCHOR: ensure
    /// Create the bridge if it does not exist: after `network create`, after a
    /// reboot, or if the process that created it was killed.
    ///
    /// Another process that was killed, or that runs at the same time, may have done
    /// some of the steps already. The bridge is created with its alias, so a device
    /// without the alias is not ours. It is set up last, so a bridge that is up is
    /// complete.
    ///
    /// The caller must have an address of the network or hold the lock, so that the
    /// network is not removed at the same time.
    ///
    /// # Errors
    /// A device with this name exists and is not ours; the subnet overlaps a route
    /// or an address; EPERM if the caller lacks CAP_NET_ADMIN.
    pub fn ensure_bridge(&self, route: &Route) -> Result<()> {
        for _ in 0..ATTEMPTS {
            match find(route, &self.bridge)? {
                Some(link) if !is_ours(&link, &self.id) => {
                    bail!("{}: network {} needs the name", foreign(&link), self.name)
                }
                Some(link) if link.up => return Ok(()),
                Some(_) => self.set_up_bridge(route)?,
                None => {
                    // The host's addresses may have changed since the network was
                    // created.
                    self.check_subnet(route)?;
                    let alias = alias(&self.id);
                    let make = || route.add_bridge(&self.bridge, &alias);
                    repeated(while_loading(make))?;
                }
            }
        }
        bail!(
            "bridge {} was removed by another process {ATTEMPTS} times: stop that \
             process, then try again",
            self.bridge
        )
    }

    fn check_subnet(&self, route: &Route) -> Result<()> {
        let Network { name, subnet, .. } = self;
        if let Some(user) = user(subnet, &of_host(route, Some(&self.bridge))?) {
            bail!(
                "network {name} cannot get its bridge: its subnet {subnet} overlaps \
                 {user}: remove that route or address, or create the network again with another \
                 --subnet"
            );
        }
        Ok(())
    }

    fn set_up_bridge(&self, route: &Route) -> Result<()> {
        let Network { bridge, gateway, subnet, .. } = self;
        repeated(route.set_mac(bridge, mac(*gateway)))?;
        if let Some(mtu) = mtu_of_default_route(route)? {
            repeated(route.set_mtu(bridge, mtu))?;
        }
        repeated(route.add_address(bridge, *gateway, subnet.prefix))?;
        repeated(route.set_up(bridge))
    }
    // ANCHOR_END: ensure
}

/// The MTU of the device of the default route. The device would drop or split a larger
/// packet of a container; with a smaller MTU, the host has more work.
fn mtu_of_default_route(route: &Route) -> Result<Option<u32>> {
    let routes = route.routes()?;
    let default = routes.iter().filter(|it| {
        (it.prefix, it.kind, it.table) == (0, RouteEntry::UNICAST, TABLE_MAIN)
    });
    let Some(device) = default.min_by_key(|it| it.metric).and_then(|it| it.device)
    else {
        return Ok(None);
    };
    let links = route.links()?;
    Ok(links.iter().find(|it| it.index == device).map(|it| it.mtu))
}

/// Check that no device has the name of the new bridge.
///
/// # Errors
/// A device has this name.
pub(crate) fn vacant(route: &Route, bridge: &str) -> Result<()> {
    let found = find(route, bridge)?;
    ensure!(
        found.is_none(),
        "{}: choose another name for the network",
        found.as_ref().map(foreign).unwrap_or_default()
    );
    Ok(())
}

/// Remove the bridge of the network with this ID. A device that is not ours is left
/// alone.
///
/// # Errors
/// EPERM if the caller lacks CAP_NET_ADMIN.
pub(crate) fn remove_bridge(route: &Route, bridge: &str, id: &Id) -> Result<()> {
    match find(route, bridge)? {
        Some(link) if is_ours(&link, id) => repeated(route.delete(bridge)),
        _ => Ok(()),
    }
}

fn is_ours(link: &Link, id: &Id) -> bool {
    link.kind.as_deref() == Some("bridge") && link.alias == Some(alias(id))
}

/// The error text for a device that has the bridge's name but is not this bridge.
fn foreign(link: &Link) -> String {
    let name = &link.name;
    match link.alias.as_deref().and_then(|it| it.strip_prefix("mydocker network ")) {
        Some(id) => format!(
            "the device {name} already exists: it is the bridge of network {id} of \
             another state directory, or of one that was deleted (`ip link delete \
             {name}` removes it then)"
        ),
        None => format!(
            "the device {name} already exists, and this program did not make it"
        ),
    }
}

/// The device with this name, if it exists.
fn find(route: &Route, name: &str) -> Result<Option<Link>> {
    match route.link(name) {
        Err(error) if has(&error, &[Errno::ENODEV]) => Ok(None),
        link => link.map(Some),
    }
}

/// Ignore EEXIST and ENODEV: another process has done this step already, or has
/// renamed or removed the device. The caller checks the device again.
fn repeated(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if has(&error, &[Errno::EEXIST, Errno::ENODEV]) => Ok(()),
        done => done,
    }
}

fn has(error: &anyhow::Error, errnos: &[Errno]) -> bool {
    let errno = error.root_cause().downcast_ref::<Errno>();
    errno.is_some_and(|errno| errnos.contains(errno))
}
