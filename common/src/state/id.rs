//! Container IDs.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

use crate::cli::step::Step;

/// A container's id: twelve hexadecimal digits, drawn at random.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// A new one.
    ///
    /// # Errors
    /// Those of getrandom(2).
    pub fn new() -> Result<Id> {
        let mut bytes = [0_u8; 6];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .look(|| "getrandom(2) for an id")?;
        Ok(Id(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Id> {
        let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() != 12 || !text.bytes().all(digit) {
            bail!("{text:?} is not a container id: twelve hexadecimal digits");
        }
        Ok(Id(text.to_owned()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back() {
        let id = Id::new().unwrap();
        assert_eq!(id.as_str().parse::<Id>().unwrap(), id);
        assert!("../../../etc".parse::<Id>().is_err());
        assert!("ABCDEF012345".parse::<Id>().is_err());
    }
}
