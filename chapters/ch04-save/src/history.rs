//! `history`: how the layers of an image were made.

use anyhow::Result;
use ch04_image::Store;
use common::cli::plain::on_one_line;
use common::cli::table::{age, size};
use common::images::{now, tree_size};
use oci::{Blobs, Config, Document, LARGEST, seconds};

/// The steps by which an image was made, the last one first, as a table.
///
/// # Errors
/// There is no such image; its configuration is damaged; readdir(3) fails.
pub(crate) fn history(store: &Store, image: &str) -> Result<String> {
    let image = store.find(image)?;
    let text = Blobs::of(store.state()).read(&image.id, LARGEST)?;
    let steps = Config::read(&text)?.history;
    // A step that changed only the configuration has no layer.
    let mut layers = image.directories(store.state()).into_iter();
    let mut table = format!("{:14}  {:>9}  CREATED BY\n", "CREATED", "SIZE");
    for step in steps.iter().rev() {
        let layer = layers.next_if_some(!step.empty_layer);
        let bytes = layer.map_or(Ok(0), |layer| tree_size(&layer))?;
        let bytes = if bytes == 0 { "0 B".to_owned() } else { size(bytes) };
        let created = age(step.created.as_deref().map_or(0, seconds), now());
        // A script may have several lines.
        let by = step.created_by.replace('\n', "; ");
        let by = on_one_line(&by);
        table += &format!("{created:14}  {bytes:>9}  {by}\n");
    }
    Ok(table)
}

trait NextIf: Iterator {
    fn next_if_some(&mut self, wanted: bool) -> Option<Self::Item> {
        if wanted { self.next() } else { None }
    }
}

impl<I: Iterator> NextIf for I {}
