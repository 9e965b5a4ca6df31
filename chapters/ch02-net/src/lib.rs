//! The network namespace: the container's own interfaces, addresses, routes and
//! ports.
//!
//! This chapter has more code than others, because the chapters about networks use
//! its netlink socket and its operations on devices, addresses and routes. The
//! book's page explains netlink.rs, link.rs and pair.rs.

#![forbid(unsafe_code)]

mod address;
pub mod commands;
#[cfg(test)]
mod corpus_tests;
mod device;
mod devices;
mod link;
mod list;
mod loading;
pub mod netlink;
mod pair;
mod route;
mod routes;

pub use address::Address;
pub use devices::Devices;
pub use link::{Link, MAX_NAME, OPERSTATE_UP, colons, is_device_name};
pub use list::list;
pub use loading::while_loading;
pub use pair::Pair;
pub use route::{Route, TargetNamespace};
pub use routes::{RouteEntry, TABLE_LOCAL, TABLE_MAIN};

use common::{CloneArgs, Part};
use nix::sched::CloneFlags;

/// A network namespace. A new one contains only `lo`, which is down.
///
/// # Source
/// network_namespaces(7)
#[derive(Debug)]
pub struct Net;

// ANCHOR: part
impl Part for Net {
    fn name(&self) -> &'static str {
        "net"
    }

    fn clone_args(&self, args: &mut CloneArgs) {
        args.namespaces |= CloneFlags::CLONE_NEWNET;
    }
}
// ANCHOR_END: part
