//! Remove one network, or all networks that no container uses.

use anyhow::{Error, Result, bail};
use ch02_net::Route;
use common::state::fields::may_be_whole;
use common::state::{Name, Table};

use crate::addresses::members;
use crate::bridge::{bridge_by_id, bridge_name, remove_bridge};
use crate::network::{Network, directory, forget, salvaged_id};
use crate::networks::Networks;

impl Networks<'_> {
    /// Remove a network that no container uses. The bridge is removed before the
    /// record, so that a removal that was killed can be repeated. Before that, dead
    /// containers are swept with the table.
    ///
    /// # Errors
    /// The network does not exist; containers use it (the error names them); EPERM
    /// if the caller lacks CAP_NET_ADMIN; an errno of unlink(2).
    pub fn remove(&self, route: &Route, name: &Name, table: Table) -> Result<()> {
        // If a creation or removal was killed, the network has no record.
        if !directory(self.state, name).exists() {
            Network::find(self.state, name)?;
        }
        self.sweep_members(name, table)?;
        let members = members(self.state, name)?;
        if !members.is_empty() {
            let users: Vec<_> = members.iter().map(|it| it.display_name()).collect();
            bail!(
                "network {name} is used by {}: stop these containers first, or disconnect \
                 them (`network disconnect`)",
                users.join(", ")
            );
        }
        let bridges = match Network::read(self.state, name) {
            Ok(network) => network.map(|it| (vec![it.bridge], it.id)),
            // A damaged record may still contain the ID.
            Err(_) => salvaged_id(self.state, name)
                .map(|id| (vec![bridge_name(name, &id), bridge_by_id(&id)], id)),
        };
        if let Some((bridges, id)) = bridges {
            for bridge in bridges {
                remove_bridge(route, &bridge, &id)?;
            }
        }
        forget(self.state, name)
    }

    /// Remove all networks that no container uses. Returns their names, and an error
    /// for each network that could not be removed.
    ///
    /// # Errors
    /// An errno of readdir(3).
    pub fn prune(
        &self,
        route: &Route,
        table: Table,
    ) -> Result<(Vec<Name>, Vec<Error>)> {
        let (mut removed, mut errors) = (Vec::new(), Vec::new());
        for name in self.state.network_names()? {
            match self.prune_one(route, &name, table) {
                Ok(true) => removed.push(name),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        Ok((removed, errors))
    }

    fn prune_one(&self, route: &Route, name: &Name, table: Table) -> Result<bool> {
        let network = match Network::read(self.state, name) {
            Err(error) if may_be_whole(&error) => return Err(error),
            read => read,
        };
        self.sweep_members(name, table)?;
        if !members(self.state, name)?.is_empty() {
            return Ok(false);
        }
        match network {
            // The creation was killed before the record was written.
            Ok(None) => forget(self.state, name)?,
            _ => self.remove(route, name, table)?,
        }
        Ok(!matches!(network, Ok(None)))
    }
}
