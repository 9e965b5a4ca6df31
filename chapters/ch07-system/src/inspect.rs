//! `inspect`: all properties of containers and images.

use anyhow::{Result, bail};
use ch04_image::Store;
use clap::Args;
use common::cli::{Act, Context};
use common::state::Record;
use common::{Exit, output};
use serde_json::{Value, json};

/// Print all properties of containers and images as JSON
///
/// Prints one array. A container has the keys of `ps --json`, and: image_id, layers
/// (directories, the topmost first), driver, environment (an array), directory, user and
/// stop_signal (or null). An image has the keys of `image inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// The names of containers or images, their IDs, or unique ID prefixes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Act for Inspect {
    fn act(self, context: &Context) -> Result<Exit> {
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
            || anyhow::anyhow!("container {} is being removed", record.called()),
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
    let more = json!({
        "image_id": record.image_id,
        "layers": layers.collect::<Vec<_>>(),
        "driver": record.driver,
        "environment": words.collect::<Vec<_>>(),
        "directory": record.directory.to_string_lossy(),
        "user": record.user,
        "stop_signal": record.stop_signal,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    Ok(value)
}
