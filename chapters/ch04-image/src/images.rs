//! `images`: what is there.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use common::Exit;
use common::cli::table::{age, size};
use common::cli::{Act, Context};
use common::images::{Image, now};
use common::output;
use common::step;
use serde_json::{Value, json};

use crate::store::Store;

/// List the images
#[derive(Args, Debug)]
#[group(skip)]
pub struct Images {
    /// Names only
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// All that is known of each, for programs
    #[arg(long)]
    pub json: bool,
}

impl Act for Images {
    fn act(self, context: &Context) -> Result<Exit> {
        let text = list(&Store::open(&context.state)?, &self)?;
        output::report(&text, Vec::new())
    }
}

/// The list, as text. An image whose record cannot be read has a warning instead of a
/// line.
///
/// # Errors
/// Those of readdir(3).
fn list(store: &Store, flags: &Images) -> Result<String> {
    let mut images = Vec::new();
    for image in store.images()? {
        match image {
            Ok(image) => images.push(image),
            Err(error) => step::warn(&step::report(&error)),
        }
    }
    if flags.quiet {
        return Ok(images.iter().map(|image| format!("{}\n", image.name)).collect());
    }
    if flags.json {
        let all: Vec<Value> = images.iter().map(object).collect();
        return Ok(serde_json::to_string_pretty(&all)? + "\n");
    }
    Ok(table(&images, now()))
}

fn object(image: &Image) -> Value {
    json!({
        "name": image.name,
        "layers": image.layers,
        "source": image.source,
        "sha256": image.sha256,
        "command": image.command,
        "environment": image.environment,
        "created": image.created,
        "size": image.size,
    })
}

fn table(images: &[Image], now: u64) -> String {
    let names = images.iter().map(|image| image.name.len());
    let width = names.max().unwrap_or(0).max("IMAGE".len());
    let mut text = format!("{:width$}  LAYERS  {:>9}  CREATED\n", "IMAGE", "SIZE");
    for image in images {
        // A String takes all that is written to it.
        let _ = writeln!(
            text,
            "{:width$}  {:6}  {:>9}  {}",
            image.name,
            image.layers.len(),
            size(image.size),
            age(image.created, now)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_the_longest_name() {
        let image = |name: &str| Image {
            name: name.into(),
            layers: vec!["a".into()],
            created: 40,
            size: 5,
            ..Image::default()
        };
        let table = table(&[image("a"), image("a-longer-name")], 100);
        assert_eq!(
            table,
            "IMAGE          LAYERS       SIZE  CREATED\n\
             a                   1        5 B  1 minute ago\n\
             a-longer-name       1        5 B  1 minute ago\n"
        );
    }
}
