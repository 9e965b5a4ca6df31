//! Names of containers and images.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

/// A name that the user gives: it is valid as a file name and as a command line
/// argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The maximum length in bytes, which is the maximum of sethostname(2).
    pub const MAX_LENGTH: usize = 64;

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Name> {
        let rule =
            "letters, digits, '_', '.' and '-', starting with a letter or digit";
        if text.is_empty() {
            bail!("the name is empty: expected {rule}");
        }
        if text.len() > Name::MAX_LENGTH {
            let (length, longest) = (text.len(), Name::MAX_LENGTH);
            bail!("the name has {length} bytes: at most {longest} are allowed");
        }
        let inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !text.chars().all(inner)
        {
            bail!("invalid name {text:?}: expected {rule}");
        }
        Ok(Name(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_or_flags_are_refused() {
        for name in ["", "/", "a/b", "..", ".", "-rm", "a\0b", "a b", "ä", "_x"] {
            assert!(name.parse::<Name>().is_err(), "{name:?}");
        }
        assert!("a".repeat(65).parse::<Name>().is_err());
        for name in ["a", "web-1", "0", "a..b", &"a".repeat(64)] {
            assert!(name.parse::<Name>().is_ok(), "{name:?}");
        }
    }
}
