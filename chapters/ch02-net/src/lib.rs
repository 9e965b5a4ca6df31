//! The network namespace: interfaces, addresses, routes and ports of one's own.

#![forbid(unsafe_code)]

mod list;
pub mod netlink;
mod pair;
mod route;

pub use list::list;
pub use pair::Pair;
pub use route::{Address, Link, Place, Route};

use common::{Birth, Part};
use nix::sched::CloneFlags;

/// A network namespace. A new one holds `lo` alone, and that is down.
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

    fn birth(&self, birth: &mut Birth) {
        birth.namespaces |= CloneFlags::CLONE_NEWNET;
    }
}
// ANCHOR_END: part
