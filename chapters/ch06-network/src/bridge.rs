//! The bridge of a network: a switch in the kernel, with the gateway's address.

use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use ch02_net::{Link, Route, RouteEntry, TABLE_MAIN, is_device_name, while_loading};
use common::state::{Id, Name};
use nix::errno::Errno;

use crate::network::Network;
use crate::overlap::{of_host, user};

/// How often a bridge that other processes make or remove at the same time is looked
/// for again.
const ATTEMPTS: usize = 20;

/// The name of the bridge: that of the network, if a device can have it; else `br-` and
/// the network's ID.
///
/// # Source
/// `dev_valid_name` in net/core/dev.c; `sysctl_dev_name_is_allowed` for all and default
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

/// The MAC of the member of a network with this address: `02:42` and the bytes of the
/// address. An address that is given again therefore has the MAC that the other hosts
/// know already.
///
/// The bridge needs one as well. Without a MAC of its own, it takes the lowest MAC of its
/// ports. That MAC changes when a container comes or goes, and the containers would send
/// to the old one.
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
    /// Make the bridge, if it does not exist: after `network create`, after a reboot,
    /// and after a process that made it was killed.
    ///
    /// Each step may have been done before, by a process that was killed or that runs
    /// at the same time. The bridge has its alias from its first moment, so a device
    /// without the alias is never half of ours. It is set up last, so a bridge that is
    /// up is complete.
    ///
    /// The caller has an address of the network, or holds the lock: the network is not
    /// removed meanwhile.
    ///
    /// # Errors
    /// A device of this name exists that is not ours; the subnet overlaps a route or an
    /// address; EPERM without CAP_NET_ADMIN.
    pub fn ensure_bridge(&self, route: &Route) -> Result<()> {
        for _ in 0..ATTEMPTS {
            match find(route, &self.bridge)? {
                Some(link) if !is_ours(&link, &self.id) => {
                    bail!("{}: network {} needs the name", foreign(&link), self.name)
                }
                Some(link) if link.up => return Ok(()),
                Some(_) => self.set_up_bridge(route)?,
                None => {
                    // The host may have other addresses than at the creation.
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
        if let Some(mtu) = mtu_of_way_out(route)? {
            repeated(route.set_mtu(bridge, mtu))?;
        }
        repeated(route.add_address(bridge, *gateway, subnet.prefix))?;
        repeated(route.set_up(bridge))
    }
    // ANCHOR_END: ensure
}

/// The MTU of the device of the default route: a larger packet of a container would be
/// dropped or split there, and with a smaller one, the host works more than it must.
fn mtu_of_way_out(route: &Route) -> Result<Option<u32>> {
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

/// Make sure that no device has the name of a bridge that is to be made.
///
/// # Errors
/// One has it.
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
/// Those of netlink(7).
pub(crate) fn remove_bridge(route: &Route, bridge: &str, id: &Id) -> Result<()> {
    match find(route, bridge)? {
        Some(link) if is_ours(&link, id) => repeated(route.delete(bridge)),
        _ => Ok(()),
    }
}

fn is_ours(link: &Link, id: &Id) -> bool {
    link.kind.as_deref() == Some("bridge") && link.alias == Some(alias(id))
}

/// What a device is that is not the bridge that is looked for.
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

/// The device of this name, if there is one.
fn find(route: &Route, name: &str) -> Result<Option<Link>> {
    match route.link(name) {
        Err(error) if has(&error, &[Errno::ENODEV]) => Ok(None),
        link => link.map(Some),
    }
}

/// A step that another process may have done, or whose device another process may have
/// renamed or removed: what is true is looked at again.
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
