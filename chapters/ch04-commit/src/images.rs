//! `images`: what is there.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use common::images::{Image, now};
use serde_json::{Value, json};

use crate::store::Store;

/// How to list them.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Flags {
    /// Names only
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// All that is known of each, for programs
    #[arg(long)]
    pub json: bool,
}

/// The list, as text.
///
/// # Errors
/// A record that is damaged.
pub fn list(store: &Store, flags: &Flags) -> Result<String> {
    let images = store.images()?;
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

/// Bytes, to three digits or so.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0 => "?".to_owned(),
        1..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// How long ago, in the largest unit of which there is one.
#[must_use]
pub fn age(then: u64, now: u64) -> String {
    if then == 0 {
        return "?".to_owned();
    }
    let seconds = now.saturating_sub(then);
    let units = [("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)];
    let unit = units.iter().find(|(_, length)| seconds >= *length);
    let Some((name, length)) = unit else { return "just now".to_owned() };
    match seconds / length {
        1 => format!("1 {name} ago"),
        many => format!("{many} {name}s ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_told_in_one_unit() {
        for (bytes, text) in
            [(0, "?"), (999, "999 B"), (1000, "1.0 kB"), (2_345_678, "2.3 MB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (then, text) in [
            (0, "?"),
            (100_000, "just now"),
            (99_999, "1 second ago"),
            (99_900, "1 minute ago"),
            (90_000, "2 hours ago"),
            (1, "1 day ago"),
        ] {
            assert_eq!(age(then, 100_000), text);
        }
    }

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
