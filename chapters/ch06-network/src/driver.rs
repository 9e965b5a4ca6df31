//! The drivers: the kinds of devices that connect the containers of a network.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

/// A driver of networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// A bridge on this host.
    #[default]
    Bridge,
}

impl FromStr for Driver {
    type Err = Error;

    fn from_str(text: &str) -> Result<Driver> {
        match text {
            "bridge" => Ok(Driver::Bridge),
            _ => bail!("unknown driver {text:?}: the only driver is bridge"),
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Driver::Bridge => "bridge",
        })
    }
}
