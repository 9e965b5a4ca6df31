//! The record of an image, made of its documents.

use anyhow::{Result, ensure};
use common::images::{Digest, Image};

use crate::config::Config;
use crate::hashing::chain_ids;
use crate::media;
use crate::text::{Manifest, seconds};

/// The record of an image whose manifest has this digest. Its source, the digest of the
/// file that it was made from, and its size are left empty.
///
/// # Errors
/// It has no layers; the manifest and the configuration have different numbers of them.
pub fn record(
    digest: Digest,
    manifest: &Manifest,
    config: &Config,
) -> Result<Image> {
    let diff_ids = &config.rootfs.diff_ids;
    ensure!(
        !diff_ids.is_empty(),
        "the image has no layers: it has no program to run"
    );
    ensure!(
        manifest.layers.len() == diff_ids.len(),
        "the image is damaged: its manifest has {} layers, and its configuration {}",
        manifest.layers.len(),
        diff_ids.len()
    );
    let chain = chain_ids(diff_ids);
    Ok(Image {
        id: manifest.config.digest.clone(),
        manifest: digest,
        media_type: manifest
            .media_type
            .clone()
            .unwrap_or_else(|| media::MANIFEST.to_owned()),
        blobs: manifest.layers.iter().map(|layer| layer.digest.clone()).collect(),
        layers: chain.iter().rev().map(|id| id.hex().to_owned()).collect(),
        settings: config.config.settings(),
        created: config.created.as_deref().map_or(0, seconds),
        ..Image::default()
    })
}
