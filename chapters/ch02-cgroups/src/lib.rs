//! Control groups (cgroups): limits, weights, accounting and freezing for a set of
//! processes.

#![forbid(unsafe_code)]

mod commands;
mod controllers;
mod directory;
mod freeze;
mod group;
mod hints;
#[cfg(test)]
mod hostile;
mod keep;
mod layout;
mod name;
mod statistics;
mod tables;
mod top;

pub use commands::Commands;
pub use controllers::{Controller, ControllerNames, controllers};
pub use directory::processes;
pub use freeze::{freeze, is_frozen};
pub use group::{Group, GroupDir};
pub use hints::{add as add_hint, missing_file};
pub use keep::release;
pub use layout::{Hierarchy, Layout, Membership, Version, memberships};
pub use name::GroupName;
pub use statistics::{Statistic, statistics};
pub use top::top;
