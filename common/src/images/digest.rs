//! Digests: the names of blobs.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

/// The SHA-256 of a blob, as OCI writes it: `sha256:` and 64 hexadecimal digits.
///
/// # Source
/// OCI image specification, descriptor.md, "Digests"
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

/// The algorithm, and the separator.
const PREFIX: &str = "sha256:";
/// The number of hexadecimal digits.
const DIGITS: usize = 64;

impl Digest {
    /// The digest with these hexadecimal digits.
    ///
    /// # Errors
    /// They are not 64 lower-case hexadecimal digits.
    pub fn from_hex(hex: &str) -> Result<Digest> {
        if hex.len() != DIGITS || !hex.bytes().all(is_hex_digit) {
            bail!("{hex:?} is not a SHA-256: expected 64 hexadecimal digits");
        }
        Ok(Digest(format!("{PREFIX}{hex}")))
    }

    /// The digest of these 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Digest {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Digest(PREFIX.to_owned() + &hex)
    }

    /// With the algorithm.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits: a file name.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.strip_prefix(PREFIX).unwrap_or_default()
    }

    /// The first 12 digits, as tables show an ID.
    #[must_use]
    pub fn short(&self) -> &str {
        self.hex().get(..12).unwrap_or_default()
    }
}

/// Whether this byte is a lower-case hexadecimal digit.
pub(super) fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest> {
        match text.strip_prefix(PREFIX) {
            Some(hex) => Digest::from_hex(hex),
            None => bail!(
                "{text:?} is not a digest: expected sha256: and 64 hexadecimal digits"
            ),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}
