//! Container IDs.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

use crate::cli::step::Step;

/// A container ID: twelve random hexadecimal digits.
///
/// The digits are stored inline, so that a list can copy hundreds of IDs without
/// allocating.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id([u8; 12]);

impl Id {
    /// Generate a new ID.
    ///
    /// # Errors
    /// getrandom(2) fails.
    pub fn new() -> Result<Id> {
        let mut bytes = [0_u8; 6];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .untraced(|| "getrandom(2) for a container ID")?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.parse()
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As a number of 48 bits.
    #[must_use]
    pub fn number(&self) -> u64 {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map_or(0, u64::from);
        self.0.iter().fold(0, |number, byte| number << 4 | digit(byte))
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Id> {
        let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        match text.as_bytes().try_into() {
            Ok(digits) if text.bytes().all(digit) => Ok(Id(digits)),
            _ => bail!(
                "invalid container ID {text:?}: expected 12 hexadecimal digits"
            ),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_parsed_from_its_text() {
        let id = Id::new().unwrap();
        assert_eq!(id.as_str().parse::<Id>().unwrap(), id);
        assert!("../../../etc".parse::<Id>().is_err());
        assert!("ABCDEF012345".parse::<Id>().is_err());
    }
}
