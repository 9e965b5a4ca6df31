//! A registry with images of one layer each.

use std::collections::BTreeMap;

use oci::{Config, Descriptor, Document, Manifest, media, sha256};

use crate::server::{Server, answer};

/// A registry that has each of these tars, without compression, as an image of this name
/// with the tag `latest`.
///
/// # Panics
/// The documents cannot be written.
#[must_use]
pub fn serve(images: impl IntoIterator<Item = (String, Vec<u8>)>) -> Server {
    // The paths, and the media types and bodies of the answers.
    let mut answers: BTreeMap<String, (&'static str, Vec<u8>)> = BTreeMap::new();
    for (name, tar) in images {
        let mut config = Config::new();
        config.rootfs.diff_ids.push(sha256(&tar));
        let config = config.text().expect("a configuration");
        let about = |kind: &str, bytes: &[u8]| {
            Descriptor::new(kind, sha256(bytes), bytes.len() as u64)
        };
        let layers = vec![about(media::LAYER, &tar)];
        let manifest = Manifest::new(about(media::CONFIG, &config), layers);
        let manifest = manifest.text().expect("a manifest");
        for blob in [tar, config] {
            let path = format!("/v2/{name}/blobs/{}", sha256(&blob));
            answers.insert(path, ("application/octet-stream", blob));
        }
        let path = format!("/v2/{name}/manifests/latest");
        answers.insert(path, (media::MANIFEST, manifest));
    }
    Server::new(move |asked, to| {
        let Some((kind, body)) = answers.get(&asked.path) else {
            return answer(to, 404, &[], b"");
        };
        let from = asked.range().unwrap_or(0);
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        let fields = [("Content-Type", *kind), ("Content-Range", &*range)];
        match from {
            0 => answer(to, 200, &fields[..1], body),
            _ => answer(to, 206, &fields, &body[from..]),
        }
    })
}
