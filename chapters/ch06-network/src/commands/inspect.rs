//! `network inspect`: networks and their containers, as JSON for programs.

use anyhow::Result;
use ch02_net::Route;
use clap::Args;
use common::cli::{Context, Execute};
use common::state::Name;
use common::{Exit, output};
use serde_json::{Value, json};

use super::may_change_devices;
use crate::{Member, Network, Networks};

/// Show networks and their containers as JSON
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// Names of the networks
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<Name>,
}

impl Execute for Inspect {
    fn execute(self, context: &Context) -> Result<Exit> {
        let networks = Networks::lock(&context.state)?;
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for name in &self.names {
            match Network::find(&context.state, name) {
                Err(error) => errors.push(error),
                Ok(network) => {
                    networks.sweep_members(name, context.undo)?;
                    found.push(object(&network, &network.members(&context.state)?));
                    // After a reboot, this creates the bridge again.
                    if may_change_devices("network inspect").is_ok() {
                        errors.extend(network.ensure_bridge(&Route::open()?).err());
                    }
                }
            }
        }
        let text = serde_json::to_string_pretty(&found)? + "\n";
        output::report(&text, errors)
    }
}

pub(super) fn object(network: &Network, members: &[Member]) -> Value {
    let containers = members.iter().map(|it| {
        json!({
            "id": it.id.as_str(),
            "name": it.name.as_ref().map(Name::as_str),
            "address": it.address.to_string(),
        })
    });
    json!({
        "name": network.name.as_str(),
        "id": network.id.as_str(),
        "driver": network.driver.to_string(),
        "subnet": network.subnet.to_string(),
        "gateway": network.gateway.to_string(),
        "bridge": network.bridge,
        "created": network.created,
        "containers": containers.collect::<Vec<_>>(),
    })
}
