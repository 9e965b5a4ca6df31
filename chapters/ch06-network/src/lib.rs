//! Networks: a bridge, a subnet, and the addresses that containers have.
//!
//! | file | content |
//! |---|---|
//! | `subnet` | a range of addresses, as the user writes it |
//! | `network` | the record of a network, which outlives a reboot |
//! | `networks` | the lock on all networks |
//! | `create`, `remove` | how a network comes and goes |
//! | `addresses` | which container has which address |
//! | `bridge` | the device on the host |
//! | `forwarding`, `sysctl` | the settings of the host that containers need |
//! | `overlap`, `pool` | which subnets are free on this host |
//! | `shared` | the namespaces of an ordinary user's networks |
//! | `commands` | `network create`, `list`, `inspect`, `remove`, `prune` |

#![forbid(unsafe_code)]

mod addresses;
mod bridge;
mod claims;
mod commands;
mod create;
mod disconnect;
mod disconnections;
mod driver;
pub mod forwarding;
mod network;
mod networks;
mod overlap;
mod pool;
mod remove;
pub mod shared;
mod subnet;
pub mod sysctl;

use common::state::{Table, Undo};

pub use addresses::{
    ADDRESS, Claim, Member, noted_addresses, release, release_addresses,
};
pub use bridge::mac;
pub use commands::{NetworkCommands, prune};
pub use create::Request;
pub use driver::Driver;
pub use network::Network;
pub use networks::Networks;
pub use subnet::Subnet;

/// The clean-up table of the chapters up to this one.
pub const UNDO: Table = &[ch03_limits::UNDO, ch05_attach::ROWS, ROWS];

/// The clean-up rows of this chapter.
pub const ROWS: &[Undo] = &[Undo { kind: ADDRESS, undo: release_addresses }];
