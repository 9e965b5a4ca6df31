//! `inspect`: all properties of containers and images.

use anyhow::{Result, bail};
use ch04_image::Store;
use ch06_network::Network;
use clap::Args;
use common::cli::{Context, Execute};
use common::state::{Id, Record, State};
use common::{Exit, output};
use serde_json::{Value, json};

/// Print all properties of containers and images as JSON
///
/// Prints one array. A container has the keys of `ps --json`, and: image_id, layers
/// (directories, the topmost first), driver, environment (an array), directory, user,
/// stop_signal (or null), mounts (host, guest and read_only) and, while it runs, networks
/// (name, address and gateway). An image has the keys of `image inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// The names of containers or images, their IDs, or unique ID prefixes
    #[arg(required = true, value_name = "CONTAINER|IMAGE")]
    names: Vec<String>,
}

impl Execute for Inspect {
    fn execute(self, context: &Context) -> Result<Exit> {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for name in &self.names {
            match one(context, name) {
                Ok(value) => found.push(value),
                Err(error) => errors.push(error),
            }
        }
        let text = serde_json::to_string_pretty(&found)? + "\n";
        output::report(&text, errors)
    }
}

/// The container with this name, otherwise the image.
fn one(context: &Context, name: &str) -> Result<Value> {
    let state = &context.state;
    let record = match Record::find(state, name) {
        Ok(record) => record,
        Err(no_container) => {
            let store = Store::open(state)?;
            if store.present(name).is_err() {
                bail!("{no_container:#}; and there is no image {name:?}");
            }
            return ch04_save::inspect(&store, name);
        }
    };
    container(context, &record)
}

fn container(context: &Context, record: &Record) -> Result<Value> {
    let (all, damaged) = ch05_ps::listed(&context.state, true)?;
    let Some(listed) = all.iter().find(|it| it.record.id == record.id) else {
        let damaged = damaged.into_iter().find(|one| one.id == record.id);
        return Err(damaged.map_or_else(
            || {
                anyhow::anyhow!(
                    "container {} is being removed",
                    record.display_name()
                )
            },
            ch05_ps::Damaged::warning,
        ));
    };
    let mut value = ch05_ps::object(listed);
    let words = record.environment.iter().map(|(key, value)| {
        format!("{}={}", key.to_string_lossy(), value.to_string_lossy())
    });
    let layers = record.layers.iter().map(|layer| {
        context.state.layers().join(layer).to_string_lossy().into_owned()
    });
    let mounts = record.mounts.iter().map(|mount| {
        json!({
            "host": mount.host.to_string_lossy(),
            "guest": mount.guest.to_string_lossy(),
            "read_only": mount.read_only,
        })
    });
    let more = json!({
        "image_id": record.image_id,
        "layers": layers.collect::<Vec<_>>(),
        "driver": record.driver,
        "environment": words.collect::<Vec<_>>(),
        "directory": record.directory.to_string_lossy(),
        "user": record.user,
        "stop_signal": record.stop_signal,
        "mounts": mounts.collect::<Vec<_>>(),
        "networks": networks(&context.state, &record.id)?,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    Ok(value)
}

/// The networks that the container is connected to, with its addresses. A damaged network
/// is left out: `network list` reports it.
fn networks(state: &State, id: &Id) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for network in Network::all(state)?.into_iter().flatten() {
        let members = network.members(state)?;
        found.extend(members.iter().filter(|member| member.id == *id).map(
            |member| {
                json!({
                    "name": network.name.as_str(),
                    "address": member.address.to_string(),
                    "gateway": network.gateway.to_string(),
                })
            },
        ));
    }
    Ok(found)
}
