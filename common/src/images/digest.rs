//! Digests: the names of blobs.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail, ensure};

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
            bail!(
                "invalid digest \"{PREFIX}{}\": expected {DIGITS} hexadecimal digits in \
                 lower case after {PREFIX}, found {} characters",
                hex.escape_debug(),
                hex.chars().count()
            );
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
        if let Some(hex) = text.strip_prefix(PREFIX) {
            return Digest::from_hex(hex);
        }
        ensure!(
            !text.contains(':'),
            "unsupported digest algorithm in {text:?}: only sha256 is supported"
        );
        bail!("invalid digest {text:?}: expected {PREFIX} and {DIGITS} digits")
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
        let digest = Digest::from_bytes(&[0xe3; 32]);
        assert_eq!(digest.short(), "e3e3e3e3e3e3");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(Digest::from_hex(digest.hex()).unwrap(), digest);
    }

    #[test]
    fn other_texts_are_not_digests_and_the_error_says_why() {
        let digest = Digest::from_bytes(&[0xe3; 32]).to_string();
        let upper = digest.replace('e', "E");
        for (text, fault) in [
            ("", "expected sha256: and 64 digits"),
            ("sha256", "expected sha256: and 64 digits"),
            ("../../x", "expected sha256: and 64 digits"),
            ("sha256:", "found 0 characters"),
            ("sha256:\u{1b}", "\\u{1b}"),
            ("sha512:00", "only sha256 is supported"),
            (&digest.to_uppercase(), "only sha256 is supported"),
            (&upper, "in lower case"),
            (&format!("{digest}0"), "found 65 characters"),
        ] {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }
}
