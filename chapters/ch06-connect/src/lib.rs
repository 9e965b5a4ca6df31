//! Connect a container to a network: a veth pair, an address, names, and a route to
//! other hosts.

#![forbid(unsafe_code)]

pub mod commands;
mod connection;
pub mod conntrack;
pub mod firewall;
mod flags;
pub mod foreign;
mod host_firewall;
mod hosts;
mod hosts_update;
mod mac;
mod mode;
mod namespace;
pub mod nft;
mod own_files;
mod publication;
mod resolv_conf;
mod rules;
mod run;
mod undo;
mod veth;

use common::state::Table;

pub use connection::Connection;
pub use flags::{Domain, Flags, HostEntry};
pub use mac::Mac;
pub use mode::Mode;
pub use publication::Publication;
pub use run::Run;
pub use undo::ROWS;
pub use veth::{Veth, host_end};

/// The clean-up table of the chapters up to this one.
pub const UNDO: Table =
    &[ch03_limits::UNDO, ch05_attach::ROWS, ch06_network::ROWS, ROWS];
