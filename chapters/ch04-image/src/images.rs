//! `images`: the list of images.

use anyhow::Result;
use clap::Args;
use common::Exit;
use common::cli::plain::on_one_line;
use common::cli::table::{age, size};
use common::cli::{Context, Execute};
use common::images::{Image, Reference, now};
use common::output;
use common::step;
use serde_json::{Value, json};

use crate::store::{Listed, Store};

/// List the images
#[derive(Args, Debug)]
#[group(skip)]
pub struct Images {
    /// Print only the names; for an image without a name, print its ID
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// Print all properties of each image as JSON, for programs
    #[arg(long)]
    pub json: bool,

    /// List only the images of this repository; with a tag, list only this image
    #[arg(value_name = "IMAGE")]
    pub name: Option<Reference>,
}

impl Execute for Images {
    fn execute(self, context: &Context) -> Result<Exit> {
        let text = list(&Store::open(&context.state)?, &self)?;
        output::report(&text, Vec::new())
    }
}

/// The list, as text. If the record of an image cannot be read, a warning is printed
/// instead of its line.
///
/// # Errors
/// readdir(3) fails.
fn list(store: &Store, flags: &Images) -> Result<String> {
    let mut images = Vec::new();
    for image in store.images()? {
        match image {
            Ok(image) => images.push(image),
            Err(damaged) => step::warn(&step::report(&damaged.error)),
        }
    }
    for stray in store.layout().strays()? {
        step::warn(&step::report(&stray.warning()));
    }
    if let Some(wanted) = &flags.name {
        images.iter_mut().for_each(|it| it.names.retain(|name| fits(name, wanted)));
        images.retain(|it| !it.names.is_empty());
    }
    if flags.quiet {
        let names = images.iter().flat_map(Listed::short_names);
        return Ok(names.map(|name| name + "\n").collect());
    }
    if flags.json {
        let all: Vec<Value> = images.iter().map(object).collect();
        return Ok(serde_json::to_string_pretty(&all)? + "\n");
    }
    Ok(table(&images, now()))
}

/// Whether an image's name matches `wanted`. If `wanted` has no tag, every tag
/// matches.
fn fits(name: &Reference, wanted: &Reference) -> bool {
    name.repository == wanted.repository
        && (wanted.tag.is_none() || name.tag == wanted.tag)
        && (wanted.digest.is_none() || name.digest == wanted.digest)
}

impl Listed {
    /// The names, without the tag if it is `latest`. If the image has no names, its
    /// short ID.
    #[must_use]
    pub fn short_names(&self) -> Vec<String> {
        match self.names.is_empty() {
            true => vec![self.image.id.short().to_owned()],
            false => self.names.iter().map(Reference::short).collect(),
        }
    }
}

fn object(listed: &Listed) -> Value {
    let Listed { image, names } = listed;
    let names: Vec<String> = names.iter().map(Reference::to_string).collect();
    let settings = &image.settings;
    json!({
        "id": image.id.as_str(),
        "names": names,
        "manifest": image.manifest.as_str(),
        "layers": image.layers,
        "source": image.source,
        "sha256": image.sha256,
        "entrypoint": settings.entrypoint,
        "command": settings.command,
        "environment": settings.environment,
        "directory": settings.directory,
        "user": settings.user,
        "stop_signal": settings.stop_signal,
        "ports": settings.ports,
        "volumes": settings.volumes,
        "created": image.created,
        "size": image.size,
    })
}

/// The text for a missing repository or tag.
const NONE: &str = "<none>";

fn table(images: &[Listed], now: u64) -> String {
    let head = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SOURCE"];
    let mut rows = vec![head.map(str::to_owned)];
    for listed in images {
        for (repository, tag) in columns(&listed.names) {
            let Image { id, created, size: bytes, source, .. } = &listed.image;
            let id = id.short().to_owned();
            let (created, bytes) = (age(*created, now), size(*bytes));
            let source = on_one_line(source).into_owned();
            rows.push([repository, tag, id, created, bytes, source]);
        }
    }
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 6]| {
        let cells =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Repository and tag of each name. A name with a digest is shown only if the image has
/// no name with a tag in the same repository.
fn columns(names: &[Reference]) -> Vec<(String, String)> {
    let tagged = |name: &Reference| {
        names.iter().any(|it| it.tag.is_some() && it.repository == name.repository)
    };
    let shown = names.iter().filter(|name| name.tag.is_some() || !tagged(name));
    let mut columns: Vec<(String, String)> = shown
        .map(|name| {
            let tag = name.tag.clone().unwrap_or_else(|| NONE.to_owned());
            (name.repository.clone(), tag)
        })
        .collect();
    if columns.is_empty() {
        columns.push((NONE.to_owned(), NONE.to_owned()));
    }
    columns
}

#[cfg(test)]
mod tests {
    use common::images::Digest;

    use super::*;

    #[test]
    fn each_tag_has_a_line_and_a_missing_name_is_shown_as_none() {
        let digest = Digest::from_hex(&"1".repeat(64)).unwrap();
        let image = Image {
            id: Digest::from_hex(&"ab".repeat(32)).unwrap(),
            created: 40,
            size: 5,
            source: "a.tar".into(),
            ..Image::default()
        };
        let listed = |names: &[String]| Listed {
            image: image.clone(),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
        };
        let by_digest = |name: &str| format!("{name}@{digest}");
        let images = [
            listed(&["a:1".into(), "a:2".into(), by_digest("a")]),
            listed(&[by_digest("localhost:5000/b")]),
            listed(&[]),
        ];
        assert_eq!(
            table(&images, 100),
            "REPOSITORY        TAG     IMAGE ID      CREATED       SIZE  SOURCE\n\
             a                 1       abababababab  1 minute ago  5 B   a.tar\n\
             a                 2       abababababab  1 minute ago  5 B   a.tar\n\
             localhost:5000/b  <none>  abababababab  1 minute ago  5 B   a.tar\n\
             <none>            <none>  abababababab  1 minute ago  5 B   a.tar\n"
        );
    }
}
