//! A container on a network, and the firewall rules that it needs.

#![forbid(unsafe_code)]

pub mod conntrack;
pub mod firewall;
pub mod foreign;
#[cfg(test)]
mod lab;
mod namespace;
pub mod nft;
#[cfg(test)]
mod paths;
pub mod sysctl;
