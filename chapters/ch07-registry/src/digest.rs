//! Digests: the names of blobs, which anyone can check.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};
use sha2::{Digest as _, Sha256};

/// The digest of a blob: `sha256:` and 64 hexadecimal digits in lower case.
///
/// # Source
/// OCI image specification, descriptor.md, "Digests"
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::finished(Sha256::new_with_prefix(bytes))
    }

    /// The digest of all bytes that this hasher was given.
    #[must_use]
    pub fn finished(hasher: Sha256) -> Digest {
        let bytes = hasher.finalize();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Digest(format!("sha256:{hex}"))
    }

    /// With the algorithm.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first twelve digits, by which `pull` names a layer.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest> {
        let shown = text.escape_debug();
        let Some((algorithm, hex)) = text.split_once(':') else {
            bail!("invalid digest \"{shown}\": expected sha256: and 64 digits");
        };
        if algorithm != "sha256" {
            bail!(
                "unsupported digest algorithm in \"{shown}\": only sha256 is supported"
            );
        }
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 64 || !hex.bytes().all(is_digit) {
            bail!(
                "invalid digest \"{shown}\": expected 64 hexadecimal digits in lower \
                 case after sha256:, found {} characters",
                hex.chars().count()
            );
        }
        Ok(Digest(text.to_owned()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_printed() {
        let digest = Digest::of(b"");
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn other_texts_are_no_digests() {
        let upper = Digest::of(b"").to_string().to_uppercase();
        let long = format!("{}0", Digest::of(b""));
        for text in ["", "sha256", "sha256:", "sha512:00", &upper, &long, "../../x"]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
