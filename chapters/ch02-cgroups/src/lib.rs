//! Control groups: limits, weights, accounts and a brake for many processes at once.

#![forbid(unsafe_code)]

mod container;
mod destroy;
mod freeze;
mod group;
mod hints;
#[cfg(test)]
mod hostile;
mod layout;
mod limits;
mod name;
mod place;
mod table;
mod values;

pub use container::{Limited, UNDO, make, places, unmake};
pub use freeze::{freeze, is_frozen};
pub use group::{Group, Place};
pub use layout::{Hierarchy, Layout, Version};
pub use limits::{Flags, weight};
pub use name::GroupName;
pub use table::{list, show, stats};
pub use values::{Cpus, Io, Key, List};

/// The controllers that `create` asks for, of both versions, as far as they are
/// there.
pub const CONTROLLERS: [&str; 8] =
    ["blkio", "cpu", "cpuacct", "cpuset", "freezer", "io", "memory", "pids"];
