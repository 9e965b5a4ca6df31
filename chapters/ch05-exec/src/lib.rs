//! `exec`: a second program in a running container.

#![forbid(unsafe_code)]

mod alone;
mod exec;
mod groups;
mod join;
mod variables;

pub use exec::{Exec, not_running};
pub use join::Inside;
pub use variables::{Variable, Variables};
