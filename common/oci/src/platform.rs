//! Platforms: select the variant of an image that this machine can run.

use std::env::consts::ARCH;
use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An operating system, an architecture, and perhaps a variant of it: `linux/arm/v7`.
///
/// # Source
/// OCI image specification, image-index.md, "platform"; Go's GOOS and GOARCH
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The name of the architecture in Go: `amd64`.
    pub architecture: String,
    /// The name of the operating system in Go: `linux`.
    pub os: String,
    /// The version of the architecture: `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Platform {
    /// The platform of this machine.
    #[must_use]
    pub fn host() -> Platform {
        let (architecture, variant) = match ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Platform {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
            other: Map::new(),
        }
    }

    /// How well an image for the platform `offered` fits the platform `self`. A
    /// larger number is better. `None` means that the image does not run.
    #[must_use]
    pub fn fits(&self, offered: &Platform) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let level = |platform: &Platform| -> Option<u32> {
            match (&platform.variant, platform.architecture.as_str()) {
                (Some(variant), _) => variant.strip_prefix('v')?.parse().ok(),
                (None, "arm64") => Some(8),
                (None, "arm") => Some(7),
                // The variants of amd64 are the levels of x86-64.
                (None, _) => Some(1),
            }
        };
        let (wanted, found) = (level(self), level(offered));
        if self.variant == offered.variant {
            return Some(1000);
        }
        // A processor also runs the programs of a lower level.
        let (wanted, found) = (wanted?, found?);
        (found <= wanted).then_some(found)
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !part.is_empty() && part.chars().all(inner)
        };
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => bail!(
                "invalid platform \"{}\": expected OS/ARCHITECTURE[/VARIANT], for \
                 example linux/arm64",
                text.escape_debug()
            ),
        };
        if !parts.iter().all(word) {
            bail!(
                "invalid platform \"{}\": a part is empty or has other characters \
                 than letters, digits, \".\", \"_\" and \"-\"",
                text.escape_debug()
            );
        }
        // The names of uname(2), which users know.
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Platform {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.map(str::to_owned),
            other: Map::new(),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // An index comes from a registry, and must not control the terminal.
        let (os, architecture) = (&self.os, &self.architecture);
        write!(f, "{}/{}", os.escape_debug(), architecture.escape_debug())?;
        match &self.variant {
            Some(variant) => write!(f, "/{}", variant.escape_debug()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_runs_lower_variants_of_its_own_architecture() {
        let fits = |wanted: &str, offered: &str| {
            let platform = |text: &str| text.parse::<Platform>().unwrap();
            platform(wanted).fits(&platform(offered))
        };
        assert_eq!(fits("linux/amd64", "linux/amd64"), Some(1000));
        assert_eq!(fits("linux/x86_64", "linux/amd64"), Some(1000));
        assert_eq!(fits("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(fits("linux/amd64", "linux/arm64"), None);
        assert_eq!(fits("linux/amd64", "windows/amd64"), None);
        assert!(fits("linux/arm64", "linux/arm64/v8").is_some());
        assert!(fits("linux/arm64/v8", "linux/arm64").is_some());
        assert!(fits("linux/arm/v7", "linux/arm/v6").is_some());
        assert!(
            fits("linux/arm/v7", "linux/arm/v6")
                > fits("linux/arm/v7", "linux/arm/v5")
        );
        assert_eq!(fits("linux/arm/v6", "linux/arm/v7"), None);
    }

    #[test]
    fn a_platform_is_read_as_it_is_printed() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/\u{1b}"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
