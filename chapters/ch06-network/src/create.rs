//! Create a network: first all checks, then the record, then the bridge.

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

/// The options of `network create`.
#[derive(Clone, Debug)]
pub struct Request {
    /// The name of the new network.
    pub name: Name,
    /// The kind of device.
    pub driver: Driver,
    /// `None` means the first free subnet of Docker's pools.
    pub subnet: Option<Subnet>,
    /// `None` means the first address of the subnet.
    pub gateway: Option<Ipv4Addr>,
    /// If a device has the name of the network, name the bridge after the network's
    /// ID instead of failing.
    pub any_bridge: bool,
}

impl Networks<'_> {
    // ANCHOR: create
    /// Create a network: first the record, then the bridge.
    ///
    /// All checks come before the first change. If the process is killed between the
    /// record and the bridge, the next use of the network creates the bridge, as
    /// after a reboot.
    ///
    /// # Errors
    /// The name is reserved or already in use; the subnet overlaps a route, an
    /// address or another network; the gateway is not in the subnet; a device with
    /// the bridge's name exists; the bridge cannot be created. After an error, no
    /// record and no bridge remain.
    pub fn create(&self, route: &Route, request: &Request) -> Result<Network> {
        let network = self.plan(route, request)?;
        network.write(self.state)?;
        if let Err(error) = network.ensure_bridge(route) {
            // An error here is ignored: the first error is the one to report.
            let _ = remove_bridge(route, &network.bridge, &network.id);
            let _ = forget(self.state, &network.name);
            return Err(error);
        }
        Ok(network)
    }
    // ANCHOR_END: create

    /// Create only the record. For an ordinary user without running containers: the
    /// first container that uses the network creates the bridge.
    ///
    /// # Errors
    /// The errors of [`Networks::create`], except those of the bridge.
    pub fn create_record(
        &self,
        route: &Route,
        request: &Request,
    ) -> Result<Network> {
        let network = self.plan(route, request)?;
        network.write(self.state).map(|()| network)
    }

    /// Check a request and fill in the defaults. Nothing is changed.
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
        // Skip a network with a damaged record: the commands that use this network
        // report the error.
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
