//! The commands with the syntax of ip(8), one file per command.

mod address;
mod cidr;
mod keywords;
mod route;

pub use address::AddressCommand;
pub use cidr::{Cidr, Destination};
pub use route::RouteCommand;
