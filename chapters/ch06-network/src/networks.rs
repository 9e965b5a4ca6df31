//! The directory of all networks: who may change it, and how a network comes and goes.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use ch02_net::Route;
use common::images::now;
use common::state::{Id, Name, State, Table};
use common::step::Step;

use crate::bridge::{bridge_name, remove_bridge, vacant};
use crate::driver::Driver;
use crate::network::{Network, check_name, forget, names, salvaged_id};
use crate::overlap::{InUse, check, of_host};
use crate::pool::choose;
use crate::subnet::Subnet;

/// The lock on all networks. As long as it is held, no other process creates or removes
/// a network, or gives an address.
///
/// It is flock(2) on the directory `networks`: the kernel releases it when the holder
/// dies, and there is no file to be left over.
#[derive(Debug)]
pub struct Networks<'a> {
    pub(crate) state: &'a State,
    directory: File,
}

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
}

impl Drop for Networks<'_> {
    fn drop(&mut self) {
        // A child that was cloned meanwhile has the same lock: it is released for both.
        let _ = self.directory.unlock();
    }
}

impl<'a> Networks<'a> {
    /// Wait for the lock, and take it. The directory is made if it does not exist.
    ///
    /// # Errors
    /// Those of mkdir(2), open(2) and flock(2).
    pub fn lock(state: &'a State) -> Result<Networks<'a>> {
        let path = state.make(state.networks())?;
        let directory =
            File::open(&path).look(|| format!("open(2) {}", path.display()))?;
        let networks = Networks { state, directory };
        networks.wait()?;
        Ok(networks)
    }

    fn wait(&self) -> Result<()> {
        loop {
            match self.directory.lock() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked.look(|| "flock(2) the networks directory"),
            }
        }
    }

    /// Do something without the lock, and take it again. Containers are swept this way:
    /// the functions of the table may take long, and may need the lock themselves.
    pub(crate) fn unlocked(&self, act: impl FnOnce()) -> Result<()> {
        self.directory.unlock().look(|| "flock(2) the networks directory")?;
        act();
        self.wait()
    }

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
            let _ = forget(self.state, &network.name);
            return Err(error);
        }
        Ok(network)
    }
    // ANCHOR_END: create

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
            "--gateway needs --subnet: without it, the subnet is not known beforehand"
        );
        let id = Id::new()?;
        let bridge = bridge_name(name, &id);
        let mut in_use = of_host(route, None)?;
        // A network whose record is damaged shows its own error, where it is used.
        let others = Network::all(self.state)?.into_iter().flatten();
        in_use.extend(others.map(|other| InUse::network(&other)));
        let subnet = match request.subnet {
            None => choose(&in_use)?,
            Some(subnet) => {
                check(&subnet, &in_use)?;
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
        vacant(route, &bridge)?;
        let (name, driver) = (name.clone(), *driver);
        Ok(Network { name, id, driver, bridge, subnet, gateway, created: now() })
    }

    // ANCHOR: remove
    /// Remove a network that no container uses: first the bridge, then the record, so
    /// that a removal that was killed can be repeated. Dead containers are swept by the
    /// table first.
    ///
    /// # Errors
    /// It does not exist; containers use it, and the error names them; those of
    /// netlink(7) and unlink(2).
    pub fn remove(&self, route: &Route, name: &Name, table: Table) -> Result<()> {
        let exists = || names(self.state).map(|names| names.contains(name));
        if !exists()? {
            Network::find(self.state, name)?;
        }
        self.sweep_members(name, table)?;
        let members = crate::addresses::members(self.state, name)?;
        if !members.is_empty() {
            let users: Vec<_> = members.iter().map(|it| it.called()).collect();
            bail!(
                "network {name} is used by {}: end them first, or disconnect them",
                users.join(", ")
            );
        }
        let id = match Network::read(self.state, name) {
            Ok(network) => network.map(|it| (it.bridge, it.id)),
            // Of a damaged record, the ID may be left.
            Err(_) => {
                salvaged_id(self.state, name).map(|id| (bridge_name(name, &id), id))
            }
        };
        if let Some((bridge, id)) = id {
            remove_bridge(route, &bridge, &id)?;
        }
        forget(self.state, name)
    }
    // ANCHOR_END: remove

    /// Remove all networks that no container uses: their names, and what went wrong
    /// with others.
    ///
    /// # Errors
    /// Those of readdir(3).
    pub fn prune(
        &self,
        route: &Route,
        table: Table,
    ) -> Result<(Vec<Name>, Vec<anyhow::Error>)> {
        let (mut removed, mut errors) = (Vec::new(), Vec::new());
        for name in names(self.state)? {
            match self.prune_one(route, &name, table) {
                Ok(true) => removed.push(name),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        Ok((removed, errors))
    }

    fn prune_one(&self, route: &Route, name: &Name, table: Table) -> Result<bool> {
        // A damaged record is told: a person decides.
        let network = Network::read(self.state, name)?;
        self.sweep_members(name, table)?;
        if !crate::addresses::members(self.state, name)?.is_empty() {
            return Ok(false);
        }
        match network {
            Some(_) => self.remove(route, name, table)?,
            // The creation was killed before the record was written.
            None => forget(self.state, name)?,
        }
        Ok(network.is_some())
    }
}
