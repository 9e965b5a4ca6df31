//! The names of groups.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result};
use common::state::Name;

/// The name of a group. `a/b` is the group b inside the group a.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupName(String);

impl FromStr for GroupName {
    type Err = Error;

    fn from_str(text: &str) -> Result<GroupName> {
        for name in text.split('/') {
            name.parse::<Name>()?;
        }
        Ok(GroupName(text.to_owned()))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups_stay_below_their_own_directory() {
        for name in ["", "/", "a/", "/a", "a//b", "../a", "a/..", "a/./b", "-a"] {
            assert!(name.parse::<GroupName>().is_err(), "{name:?}");
        }
        for name in ["a", "a/b", "web-1/inner.2"] {
            assert!(name.parse::<GroupName>().is_ok(), "{name:?}");
        }
    }
}
