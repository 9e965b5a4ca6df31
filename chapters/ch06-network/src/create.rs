//! How a network is created: all checks, then the record, then the bridge.

use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use ch02_net::Route;
use common::images::now;
use common::state::{Id, Name};

use crate::bridge::{bridge_by_id, bridge_name, remove_bridge, vacant};
use crate::driver::Driver;
use crate::network::{Network, check_name, forget};
use crate::networks::Networks;
use crate::overlap::{InUse, of_host, user};
use crate::pool::choose;
use crate::subnet::Subnet;

/// What `network create` is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The name of the new network.
    pub name: Name,
    /// The kind of device.
    pub driver: Driver,
    /// `None` takes the first free one of Docker's pools.
    pub subnet: Option<Subnet>,
    /// `None` takes the first address of the subnet.
    pub gateway: Option<Ipv4Addr>,
    /// If a device has the name of the network, name the bridge after the network's ID
    /// instead of failing.
    pub any_bridge: bool,
}

impl Networks<'_> {
    // ANCHOR: create
    /// Create a network: first the record, then the bridge.
    ///
    /// All checks come before the first change. A kill between the two leaves a network
    /// whose bridge is made by the next use, as after a reboot.
    ///
    /// # Errors
    /// The name is reserved or already in use; the subnet overlaps a route, an address
    /// or another network; the gateway is not in the subnet; a device with the
    /// bridge's name exists; those of netlink(7). Nothing is left then.
    pub fn create(&self, route: &Route, request: &Request) -> Result<Network> {
        let network = self.plan(route, request)?;
        network.write(self.state)?;
        if let Err(error) = network.ensure_bridge(route) {
            // The first error is the one that the user needs.
            let _ = remove_bridge(route, &network.bridge, &network.id);
            let _ = forget(self.state, &network.name);
            return Err(error);
        }
        Ok(network)
    }
    // ANCHOR_END: create

    /// The same for an ordinary user, none of whose containers runs: the first one that
    /// uses the network makes the bridge.
    ///
    /// # Errors
    /// As [`Networks::create`], but for those of the bridge.
    pub fn create_record(
        &self,
        route: &Route,
        request: &Request,
    ) -> Result<Network> {
        let network = self.plan(route, request)?;
        network.write(self.state).map(|()| network)
    }

    /// Check a request and complete it. Nothing is changed.
    fn plan(&self, route: &Route, request: &Request) -> Result<Network> {
        let Request { name, driver, .. } = request;
        check_name(name)?;
        ensure!(
            Network::read(self.state, name)?.is_none(),
            "network {name} already exists: choose another name, or remove it with \
             `network remove {name}`"
        );
        ensure!(
            request.subnet.is_some() || request.gateway.is_none(),
            "--gateway needs --subnet: add --subnet ADDRESS/PREFIX"
        );
        let id = Id::new()?;
        let mut bridge = bridge_name(name, &id);
        let mut in_use = of_host(route, None)?;
        // A network whose record is damaged shows its own error, where it is used.
        let others = Network::all(self.state)?.into_iter().flatten();
        in_use.extend(others.map(|other| InUse::network(&other)));
        let subnet = match request.subnet {
            None => choose(&in_use)?,
            Some(subnet) => {
                if let Some(user) = user(&subnet, &in_use) {
                    bail!(
                        "the subnet {subnet} overlaps {user}: choose another --subnet, \
                         or leave it out to get a free one"
                    );
                }
                subnet
            }
        };
        let gateway = match request.gateway {
            Some(gateway) => {
                subnet.check_host(gateway, "--gateway")?;
                gateway
            }
            None => Ipv4Addr::from_bits(*subnet.range().start()),
        };
        if request.any_bridge && vacant(route, &bridge).is_err() {
            bridge = bridge_by_id(&id);
        }
        vacant(route, &bridge)?;
        let (name, driver) = (name.clone(), *driver);
        Ok(Network { name, id, driver, bridge, subnet, gateway, created: now() })
    }
}
