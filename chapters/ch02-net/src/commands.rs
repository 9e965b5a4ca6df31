//! The commands that are spelled as in ip(8): one file per command.

mod address;
mod cidr;
mod keywords;
mod route;

pub use address::AddressCommand;
pub use cidr::{Cidr, Destination};
pub use route::RouteCommand;
