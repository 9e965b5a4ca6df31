//! Manifests: the list of the blobs that make an image.

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use serde::Deserialize;
use ureq::http::header::CONTENT_TYPE;

use crate::answer::read_whole;
use crate::client::Client;
use crate::digest::Digest;
use crate::failure::Failure;
use crate::platform::Platform;
use crate::transport::{Content, get};

/// The most bytes of a manifest or an index.
///
/// # Source
/// OCI distribution specification, "Pushing Manifests": registries should accept 4 MiB
const MOST: u64 = 4 << 20;

/// The media types of manifests of one image.
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The media types of lists of manifests.
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// A blob, as a manifest names it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// The digest, as text.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    #[serde(default)]
    platform: Option<Offered>,
}

/// A platform in an index.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Offered {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// The list of the blobs of an image.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// What runs, and the digests of the unpacked layers.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// A manifest as it came.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its bytes, on which its digest depends.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// The digest of what the name leads to: the manifest, or the index that lists it.
    pub named: Digest,
    /// What the bytes say.
    pub manifest: Manifest,
}

// ANCHOR: fetch
/// Fetch the manifest of the image that `wanted`, a tag or a digest, leads to. Of an
/// index, the manifest for this platform is taken.
///
/// `what` names the image in errors.
///
/// # Errors
/// There is no such image, or none for this platform; the content does not correspond to
/// a digest; it is too large, or is no manifest.
pub fn fetch(
    client: &Client,
    what: &str,
    wanted: &str,
    platform: &Platform,
) -> Result<Found> {
    let (bytes, media_type) = document(client, what, wanted)?;
    let named = Digest::of(&bytes);
    if wanted.contains(':') {
        check_digest(what, wanted, &named)?;
    }
    if MANIFESTS.contains(&media_type.as_str()) {
        let manifest = read(what, &bytes)?;
        return Ok(Found { bytes, media_type, named, manifest });
    }
    let index: Index = read_json(what, &bytes)?;
    let chosen = choose(&index, platform)
        .with_context(|| format!("{what} is a list of manifests"))?;
    let (bytes, media_type) = document(client, what, &chosen.digest)?;
    check_digest(what, &chosen.digest, &Digest::of(&bytes))?;
    ensure!(
        MANIFESTS.contains(&media_type.as_str()),
        "{what}: the list of manifests contains {}, which is no manifest of an image",
        media_type.escape_debug()
    );
    let manifest = read(what, &bytes)?;
    Ok(Found { bytes, media_type, named, manifest })
}
// ANCHOR_END: fetch

/// The bytes and the media type of a manifest or an index.
fn document(client: &Client, what: &str, wanted: &str) -> Result<(Vec<u8>, String)> {
    let accept = [MANIFESTS, INDEXES].concat();
    let request = get(client.url(&format!("manifests/{wanted}"))?, &accept);
    let attempt = || -> Result<(Vec<u8>, String), Failure> {
        let response = client.send(&request, Content::Empty)?;
        let response = client.expect(response, what)?;
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
        let context =
            |failure: Failure| failure.context(format!("manifest of {what}"));
        Ok((read_whole(response, MOST).map_err(context)?, kind))
    };
    let (bytes, kind) = client.settings().backoff.retry(|_| attempt())?;
    let kind = media_type(&kind, &bytes).with_context(|| what.to_owned())?;
    Ok((bytes, kind))
}

/// The media type of a document: what it states itself, otherwise what the registry
/// states.
fn media_type(stated: &str, bytes: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        media_type: Option<String>,
    }
    let own: Own = serde_json::from_slice(bytes).context("expected a manifest")?;
    let kind = own.media_type.as_deref().unwrap_or(stated);
    let known = [MANIFESTS, INDEXES].concat();
    if known.contains(&kind) {
        return Ok(kind.to_owned());
    }
    // A registry that serves files does not know what they are.
    if known.contains(&stated) {
        return Ok(stated.to_owned());
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

fn read(what: &str, bytes: &[u8]) -> Result<Manifest> {
    let manifest: Manifest = read_json(what, bytes)?;
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        blob.digest().with_context(|| format!("{what}: damaged manifest"))?;
    }
    Ok(manifest)
}

fn read_json<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::from(error).context(format!("{what}: damaged manifest"))
    })
}

impl Descriptor {
    /// The digest.
    ///
    /// # Errors
    /// The text is none.
    pub fn digest(&self) -> Result<Digest> {
        self.digest.parse()
    }

    fn platform(&self) -> Option<Platform> {
        let Offered { os, architecture, variant } = self.platform.clone()?;
        Some(Platform { os, architecture, variant })
    }
}

/// The manifest for this platform.
fn choose<'a>(index: &'a Index, platform: &Platform) -> Result<&'a Descriptor> {
    // A build tool may add manifests that describe others, for no platform.
    let images = index.manifests.iter().filter(|it| {
        let other = it.platform.as_ref().is_some_and(|it| it.os == "unknown");
        !other && MANIFESTS.contains(&it.media_type.as_str())
    });
    let images: Vec<&Descriptor> = images.collect();
    if let [only] = images[..]
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let fitting = images.iter().filter_map(|it| {
        let quality = platform.fits(&it.platform()?)?;
        Some((quality, *it))
    });
    // Of equal ones, the first.
    let best = fitting.rev().max_by_key(|(quality, _)| *quality);
    best.map(|(_, chosen)| chosen).ok_or_else(|| {
        let mut offered: Vec<String> = images
            .iter()
            .filter_map(|it| it.platform())
            .map(|platform| platform.to_string())
            .collect();
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

    fn index(platforms: &[&str]) -> Index {
        let entry = |(at, text): (usize, &&str)| {
            let platform = text.parse::<Platform>().ok().map(|it| Offered {
                os: it.os,
                architecture: it.architecture,
                variant: it.variant,
            });
            Descriptor {
                media_type: MANIFESTS[0].to_owned(),
                digest: format!("{at}"),
                size: 1,
                platform,
            }
        };
        Index { manifests: platforms.iter().enumerate().map(entry).collect() }
    }

    fn chosen(platforms: &[&str], wanted: &str) -> Result<String> {
        let index = index(platforms);
        choose(&index, &wanted.parse().unwrap()).map(|it| it.digest.clone())
    }

    #[test]
    fn the_manifest_of_the_platform_is_chosen() {
        let all =
            ["unknown/unknown", "linux/arm64/v8", "linux/amd64", "linux/amd64"];
        assert_eq!(chosen(&all, "linux/amd64").unwrap(), "2");
        assert_eq!(chosen(&all, "linux/arm64").unwrap(), "1");
        assert_eq!(chosen(&["-"], "linux/arm64").unwrap(), "0");
        let error = chosen(&all, "linux/riscv64").unwrap_err().to_string();
        let list = "There are: linux/arm64/v8, linux/amd64.";
        assert!(error.contains(list), "{error}");
        let error = chosen(&["unknown/unknown"], "linux/amd64").unwrap_err();
        assert!(error.to_string().contains("none for other"), "{error}");
    }

    #[test]
    fn a_document_states_its_own_type() {
        let own = format!(r#"{{"mediaType":"{}"}}"#, MANIFESTS[1]);
        let found = media_type("application/json", own.as_bytes()).unwrap();
        assert_eq!(found, MANIFESTS[1]);
        assert_eq!(media_type(INDEXES[0], b"{}").unwrap(), INDEXES[0]);
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
