//! `image inspect`: all properties of images, as JSON.

use anyhow::Result;
use ch04_image::Store;
use common::images::Reference;
use oci::{Blobs, Config, Document, LARGEST};
use serde_json::{Value, json};

/// The properties of an image, under Docker's keys; Docker has no key `Source`.
///
/// # Errors
/// There is no such image; its configuration is damaged.
pub fn inspect(store: &Store, image: &str) -> Result<Value> {
    let image = store.find(image)?;
    let text = Blobs::of(store.state()).read(&image.id, LARGEST)?;
    let config = Config::read(&text)?;
    let all = store.layout().all_names()?;
    let names = all.into_iter().filter(|(_, id)| *id == image.id);
    let (tags, digests): (Vec<Reference>, Vec<Reference>) =
        names.map(|(name, _)| name).partition(|name| name.tag.is_some());
    let words = |names: &[Reference]| {
        names.iter().map(Reference::to_string).collect::<Vec<String>>()
    };
    Ok(json!({
        "Id": image.id.as_str(),
        "RepoTags": words(&tags),
        "RepoDigests": words(&digests),
        "Created": config.created,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "Config": config.config,
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids
            .iter().map(|id| id.as_str()).collect::<Vec<_>>() },
        "Manifest": image.manifest.as_str(),
        "Source": image.source,
    }))
}
