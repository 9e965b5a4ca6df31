//! `address`: add, remove and show addresses of devices.

use std::fmt::Write;

use anyhow::Result;
use clap::Subcommand;
use common::exit::Failure;

use super::cidr::Cidr;
use super::keywords::keywords;
use crate::route::Route;

/// `address add`, `remove` and `show`, with the syntax of ip-address(8).
#[derive(Debug, Subcommand)]
pub enum AddressCommand {
    /// Add an IPv4 address to a device
    ///
    /// If the device is up, the kernel also adds a route to the address's network.
    #[command(
        override_usage = "ch02-net address add ADDRESS/PREFIX dev DEVICE",
        after_help = "Example:\n  ch02-net address add 192.168.10.2/24 dev eth0"
    )]
    Add {
        /// Address and prefix length of its network: 192.168.10.2/24
        #[arg(value_name = "ADDRESS/PREFIX")]
        address: Cidr,

        /// The device
        #[arg(value_name = "dev DEVICE")]
        words: Vec<String>,
    },
    /// Remove an IPv4 address from a device
    ///
    /// The kernel also removes the routes that use this address.
    #[command(
        visible_aliases = ["del", "delete"],
        override_usage = "ch02-net address remove ADDRESS/PREFIX dev DEVICE"
    )]
    Remove {
        /// Address, with the same prefix length as in `add`
        #[arg(value_name = "ADDRESS/PREFIX")]
        address: Cidr,

        /// The device
        #[arg(value_name = "dev DEVICE")]
        words: Vec<String>,
    },
    /// Show IPv4 and IPv6 addresses [default: of all devices]
    #[command(
        visible_alias = "list",
        override_usage = "ch02-net address show [dev DEVICE]"
    )]
    Show {
        /// Only the addresses of this device
        #[arg(value_name = "dev DEVICE")]
        words: Vec<String>,
    },
}

impl AddressCommand {
    /// Execute the command in this process's network namespace. Returns its output.
    ///
    /// # Errors
    /// The errors of [`Route::add_address`] and [`Route::remove_address`]; ENODEV if
    /// the device does not exist; exit status 2 if the command line is invalid.
    pub fn run(&self) -> Result<String> {
        let route = Route::open()?;
        match self {
            AddressCommand::Add { address: Cidr { address, prefix }, words } => {
                route.add_address(&device(words)?, *address, *prefix)?;
            }
            AddressCommand::Remove { address: Cidr { address, prefix }, words } => {
                route.remove_address(&device(words)?, *address, *prefix)?;
            }
            AddressCommand::Show { words } => return show(&route, words),
        }
        Ok(String::new())
    }
}

fn device(words: &[String]) -> Result<String> {
    let [device] = keywords(words, ["dev"])?;
    let text = "expected \"dev DEVICE\" after the address".to_owned();
    device.ok_or_else(|| Failure { code: 2, text }.into())
}

fn show(route: &Route, words: &[String]) -> Result<String> {
    let [device] = keywords(words, ["dev"])?;
    let links = match device {
        Some(name) => vec![route.link(&name)?],
        None => route.links()?,
    };
    let addresses = route.addresses()?;
    let mut text = String::new();
    for link in links {
        for it in addresses.iter().filter(|it| it.index == link.index) {
            writeln!(text, "{}/{} dev {}", it.address, it.prefix, link.name)?;
        }
    }
    Ok(text)
}
