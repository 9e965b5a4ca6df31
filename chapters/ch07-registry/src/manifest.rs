//! Manifests: the list of the blobs that make an image.

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::images::Digest;
use oci::media::{self, is_manifest};
use oci::{Descriptor, Document, Index, LARGEST, Manifest, Platform, sha256};
use serde::Deserialize;
use ureq::http::header::CONTENT_TYPE;

use crate::answer::read_whole;
use crate::client::Client;
use crate::failure::Failure;
use crate::transport::{Content, get};

/// A manifest as the registry sent it.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// Its bytes, from which its digest is computed.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// The digest to which the name refers: that of the manifest, or of the index that
    /// lists it.
    pub named: Digest,
    /// The content of the bytes.
    pub manifest: Manifest,
}

// ANCHOR: fetch
/// Fetch the manifest of an image. `wanted` is a tag or a digest. If it refers to an
/// index, the manifest for this platform is fetched.
///
/// `what` names the image in errors.
///
/// # Errors
/// There is no such image, or none for this platform; the content does not match its
/// digest, is too large, or is not a manifest.
pub fn fetch(
    client: &Client,
    what: &str,
    wanted: &str,
    platform: &Platform,
) -> Result<FetchedManifest> {
    let (bytes, media_type) = document(client, what, wanted)?;
    let named = sha256(&bytes);
    if wanted.contains(':') {
        check_digest(what, wanted, &named)?;
    }
    if is_manifest(&media_type) {
        let manifest = read(what, &bytes)?;
        return Ok(FetchedManifest { bytes, media_type, named, manifest });
    }
    let index: Index = read(what, &bytes)?;
    let chosen = choose(&index, platform)
        .with_context(|| format!("{what} is a list of manifests"))?;
    let wanted = chosen.digest.as_str();
    let (bytes, media_type) = document(client, what, wanted)?;
    check_digest(what, wanted, &sha256(&bytes))?;
    ensure!(
        is_manifest(&media_type),
        "{what}: the list of manifests contains {}, which is not a manifest of an image",
        media_type.escape_debug()
    );
    let manifest = read(what, &bytes)?;
    Ok(FetchedManifest { bytes, media_type, named, manifest })
}
// ANCHOR_END: fetch

/// The bytes and the media type of a manifest or an index.
fn document(client: &Client, what: &str, wanted: &str) -> Result<(Vec<u8>, String)> {
    let url = client.url(&format!("manifests/{wanted}"))?;
    let request = get(url, &media::DOCUMENTS);
    let attempt = || -> Result<(Vec<u8>, String), Failure> {
        let response = client.send(&request, Content::Empty)?;
        let response = client.expect(response, what)?;
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
        let context =
            |failure: Failure| failure.context(format!("manifest of {what}"));
        Ok((read_whole(response, LARGEST).map_err(context)?, kind))
    };
    let (bytes, kind) = client.settings().backoff.retry(|_| attempt())?;
    let kind = media_type(&kind, &bytes).with_context(|| what.to_owned())?;
    Ok((bytes, kind))
}

/// The media type of a document: the type that the document states, otherwise the
/// type that the registry states.
fn media_type(stated: &str, bytes: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        media_type: Option<String>,
    }
    let own: Own = serde_json::from_slice(bytes).context("expected a manifest")?;
    let kind = own.media_type.as_deref().unwrap_or(stated);
    // A registry that is only a file server does not know the media types.
    for known in [kind, stated] {
        if media::DOCUMENTS.contains(&known) {
            return Ok(known.to_owned());
        }
    }
    if kind.contains("manifest.v1") {
        bail!(
            "the image has the manifest format of 2014 (schema 1), which is not \
             supported: push the image again with a current tool"
        );
    }
    bail!("unknown manifest format \"{}\"", kind.escape_debug());
}

fn check_digest(what: &str, wanted: &str, found: &Digest) -> Result<()> {
    ensure!(
        wanted == found.as_str(),
        "{what}: the registry sent a manifest with the wrong digest: expected \
         {}, got {found}",
        wanted.escape_debug()
    );
    Ok(())
}

fn read<T: Document>(what: &str, bytes: &[u8]) -> Result<T> {
    T::read(bytes).with_context(|| format!("{what}: damaged manifest"))
}

/// The manifest for this platform.
fn choose<'a>(index: &'a Index, platform: &Platform) -> Result<&'a Descriptor> {
    index.choose(platform).ok_or_else(|| {
        let offered = index.images().filter_map(|it| it.platform.as_ref());
        let mut offered: Vec<String> = offered.map(Platform::to_string).collect();
        offered.dedup();
        offered.truncate(40);
        match offered.is_empty() {
            true => anyhow!("no manifest for {platform}, and none for other platforms"),
            false => anyhow!(
                "no manifest for {platform}. There are: {}. Choose one with --platform",
                offered.join(", ")
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_of_an_index_are_named() {
        let error = |platforms: &[&str]| {
            let entries = platforms.iter().map(|text| Descriptor {
                platform: text.parse().ok(),
                ..Descriptor::new(media::MANIFEST, sha256(b""), 0)
            });
            let manifests: Vec<Descriptor> = entries.collect();
            let text = serde_json::json!({
                "schemaVersion": 2,
                "manifests": manifests,
            });
            let index = Index::read(text.to_string().as_bytes()).unwrap();
            let wanted = "linux/riscv64".parse().unwrap();
            choose(&index, &wanted).unwrap_err().to_string()
        };
        let unknown = "unknown/unknown";
        let text = error(&[unknown, "linux/arm64/v8", "linux/amd64", "linux/amd64"]);
        assert!(text.contains("There are: linux/arm64/v8, linux/amd64."), "{text}");
        let text = error(&[unknown]);
        assert!(text.contains("none for other"), "{text}");
    }

    #[test]
    fn a_document_states_its_own_type() {
        let own = format!(r#"{{"mediaType":"{}"}}"#, media::DOCKER_MANIFEST);
        let found = media_type("application/json", own.as_bytes()).unwrap();
        assert_eq!(found, media::DOCKER_MANIFEST);
        assert_eq!(media_type(media::INDEX, b"{}").unwrap(), media::INDEX);
        let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        let error = media_type(old, b"{}").unwrap_err().to_string();
        assert!(error.contains("schema 1"), "{error}");
        for (stated, bytes) in
            [("text/html", &b"{}"[..]), ("", b"<html>"), ("", b"")]
        {
            assert!(media_type(stated, bytes).is_err());
        }
    }
}
