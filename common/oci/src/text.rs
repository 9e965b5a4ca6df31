//! Descriptors, manifests and indexes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use common::images::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::media;
use crate::platform::Platform;
use crate::wire::{or_default, read_digest, write_digest};

/// A document of an image. Fields that this program does not know are preserved.
pub trait Document: Serialize + DeserializeOwned {
    /// The name of this kind of document in an error.
    const KIND: &'static str;

    /// Parse a document.
    ///
    /// # Errors
    /// The text is larger than [`LARGEST`], is not JSON, or lacks a field.
    fn read(text: &[u8]) -> Result<Self> {
        ensure!(
            text.len() as u64 <= LARGEST,
            "the {} has {} bytes: at most {LARGEST} are read",
            Self::KIND,
            text.len()
        );
        serde_json::from_slice(text)
            .with_context(|| format!("read the {}", Self::KIND))
    }

    /// Write the document as JSON.
    ///
    /// # Errors
    /// A map has keys that are not strings. No document has such a map.
    fn text(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// The largest document that is read, in bytes.
///
/// # Source
/// The distribution specification, "Pushing Manifests": registries must accept 4 MiB
pub const LARGEST: u64 = 4 << 20;

/// The description of a blob: its digest, its size, and its media type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// One of [`media`].
    pub media_type: String,
    /// The digest.
    #[serde(serialize_with = "write_digest", deserialize_with = "read_digest")]
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// The platform of the image to which a manifest belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Further properties.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Descriptor {
    /// A blob of this kind.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            other: Map::new(),
        }
    }
}

/// The blobs of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// One of [`media`]; older manifests have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// Further properties.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Manifest {
    /// An OCI manifest of these blobs.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            config,
            layers,
            annotations: BTreeMap::new(),
            other: Map::new(),
        }
    }
}

impl Document for Manifest {
    const KIND: &'static str = "manifest";
}

/// Manifests, for several platforms or of several images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// One of [`media`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests; each may be an index itself.
    pub manifests: Vec<Descriptor>,
    /// Further properties.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Index {
    /// The manifests of images. A build tool may add manifests that describe other
    /// manifests. They are for no platform, and are left out.
    pub fn images(&self) -> impl DoubleEndedIterator<Item = &Descriptor> {
        self.manifests.iter().filter(|it| {
            let other = it.platform.as_ref().is_some_and(|it| it.os == "unknown");
            !other && media::is_manifest(&it.media_type)
        })
    }

    /// The manifest of the image that fits this platform best; `None` if no image
    /// runs on it.
    #[must_use]
    pub fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        let images: Vec<&Descriptor> = self.images().collect();
        if let [only] = images[..]
            && only.platform.is_none()
        {
            return Some(only);
        }
        let fitting = images.iter().filter_map(|it| {
            let quality = platform.fits(it.platform.as_ref()?)?;
            Some((quality, *it))
        });
        // If several images fit equally well, choose the first.
        let best = fitting.rev().max_by_key(|(quality, _)| *quality);
        best.map(|(_, chosen)| chosen)
    }
}

impl Document for Index {
    const KIND: &'static str = "index";
}

/// Format a time, in seconds after 1970, as in RFC 3339, in UTC.
///
/// # Errors
/// The year has more than four digits.
pub fn time(seconds: u64) -> Result<String> {
    let seconds = i64::try_from(seconds).context("the time is out of range")?;
    let time = jiff::Timestamp::from_second(seconds);
    Ok(time.context("the time is out of range")?.to_string())
}

/// Parse a time in the format of RFC 3339. Returns the seconds after 1970, or 0 if
/// the text is not a time or the time is earlier.
#[must_use]
pub fn seconds(time: &str) -> u64 {
    let time: Option<jiff::Timestamp> = time.parse().ok();
    time.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_preserved_and_nulls_are_read() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{digest}","size":1,"data":"e30="}},"layers":[],"annotations":null,"subject":{{"x":[1]}}}}"#
        );
        let manifest = Manifest::read(text.as_bytes()).unwrap();
        let again = String::from_utf8(manifest.text().unwrap()).unwrap();
        assert_eq!(again, text.replace(r#""annotations":null,"#, ""));
    }

    #[test]
    fn an_invalid_document_is_refused_with_the_reason() {
        let manifest = |digest: &str| {
            let config =
                format!(r#"{{"mediaType":"c","digest":"{digest}","size":1}}"#);
            let text =
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
            format!("{:#}", Manifest::read(text.as_bytes()).unwrap_err())
        };
        let error = manifest("sha256:12");
        assert!(error.contains("64 hexadecimal digits"), "{error}");
        let error = manifest("md5:12");
        assert!(error.contains("only sha256 is supported"), "{error}");
        let error = format!("{:#}", Index::read(b"{}").unwrap_err());
        assert!(error.contains("read the index: missing field"), "{error}");
        let large = vec![b' '; LARGEST as usize + 1];
        let error = format!("{:#}", Index::read(&large).unwrap_err());
        assert!(error.contains("at most 4194304"), "{error}");
    }

    #[test]
    fn the_manifest_of_the_platform_is_chosen() {
        let chosen = |platforms: &[&str], wanted: &str| {
            let entries = platforms.iter().enumerate().map(|(at, text)| {
                let digest = Digest::from_bytes(&[0; 32]);
                Descriptor {
                    platform: text.parse().ok(),
                    ..Descriptor::new(media::MANIFEST, digest, at as u64)
                }
            });
            let index = Index {
                schema_version: 2,
                media_type: None,
                manifests: entries.collect(),
                annotations: BTreeMap::new(),
                other: Map::new(),
            };
            index.choose(&wanted.parse().unwrap()).map(|it| it.size)
        };
        let all =
            ["unknown/unknown", "linux/arm64/v8", "linux/amd64", "linux/amd64"];
        assert_eq!(chosen(&all, "linux/amd64"), Some(2));
        assert_eq!(chosen(&all, "linux/arm64"), Some(1));
        assert_eq!(chosen(&all, "linux/riscv64"), None);
        assert_eq!(chosen(&all, "unknown/unknown"), None);
        assert_eq!(chosen(&["-"], "linux/arm64"), Some(0));
        assert_eq!(chosen(&["-", "-"], "linux/arm64"), None);
        let arm = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"];
        assert_eq!(chosen(&arm, "linux/arm/v6"), Some(1));
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        assert_eq!(time(1_000_000_000).unwrap(), "2001-09-09T01:46:40Z");
        for (text, expected) in [
            ("2001-09-09T01:46:40Z", 1_000_000_000),
            ("2001-09-09T03:46:40.123456789+02:00", 1_000_000_000),
            ("0001-01-01T00:00:00Z", 0),
            ("yesterday", 0),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
