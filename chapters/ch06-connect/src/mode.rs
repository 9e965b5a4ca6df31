//! The value of `-net`.

use std::str::FromStr;

use anyhow::{Error, Result};
use common::state::Name;

/// The network of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A network namespace with the loopback device only.
    Loopback,
    /// The host's network namespace.
    Host,
    /// The network with this name, created by `network create`.
    Network(Name),
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Mode> {
        match text {
            "none" => Ok(Mode::Loopback),
            "host" => Ok(Mode::Host),
            name => name.parse().map(Mode::Network),
        }
    }
}
