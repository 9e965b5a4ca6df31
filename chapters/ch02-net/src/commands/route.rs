//! `route`: add, remove and show routes.

use std::fmt::Write;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use clap::Subcommand;
use common::exit::Failure;

use super::cidr::{Cidr, Destination, ipv4};
use super::keywords::keywords;
use crate::route::Route;
use crate::routes::{RouteEntry, TABLE_MAIN};

/// `route add`, `remove` and `show`, with the syntax of ip-route(8).
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Add a route to the main table, with a gateway, a device, or both
    #[command(
        override_usage = "ch02-net route add DESTINATION [via GATEWAY] [dev DEVICE]",
        after_help = "Examples:
  ch02-net route add default via 192.168.10.1
  ch02-net route add 10.0.0.0/8 via 192.168.10.9 dev eth0
  ch02-net route add 192.168.20.0/24 dev eth1"
    )]
    Add(Target),
    /// Remove a route from the main table
    ///
    /// Without a gateway and a device, the first route to the destination is
    /// removed.
    #[command(
        visible_aliases = ["del", "delete"],
        override_usage = "ch02-net route remove DESTINATION [via GATEWAY] [dev DEVICE]"
    )]
    Remove(Target),
    /// Show the routes of the main table
    #[command(visible_alias = "list")]
    Show,
}

/// The destination of a route, with its gateway and its device.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub struct Target {
    /// Destination: default, a network (10.0.0.0/8), or one address
    destination: Destination,

    /// Address of the router, and device through which packets leave, in any order
    #[arg(value_name = "via GATEWAY, dev DEVICE")]
    words: Vec<String>,
}

impl RouteCommand {
    /// Execute the command in this process's network namespace. Returns its output.
    ///
    /// # Errors
    /// The errors of [`Route::add_route`] and [`Route::remove_route`]; exit status 2
    /// if the command line is invalid.
    pub fn run(&self) -> Result<String> {
        let route = Route::open()?;
        match self {
            RouteCommand::Add(target) => {
                let (gateway, device) = target.next_hop()?;
                if gateway.is_none() && device.is_none() {
                    let text = "expected \"via GATEWAY\", \"dev DEVICE\", or both";
                    return Err(Failure { code: 2, text: text.to_owned() }.into());
                }
                let Cidr { address, prefix } = target.destination.0;
                route.add_route(address, prefix, gateway, device.as_deref())?;
            }
            RouteCommand::Remove(target) => {
                let (gateway, device) = target.next_hop()?;
                let Cidr { address, prefix } = target.destination.0;
                route.remove_route(address, prefix, gateway, device.as_deref())?;
            }
            RouteCommand::Show => return show(&route),
        }
        Ok(String::new())
    }
}

impl Target {
    fn next_hop(&self) -> Result<(Option<Ipv4Addr>, Option<String>)> {
        let [gateway, device] = keywords(&self.words, ["via", "dev"])?;
        let gateway = gateway.map(|text| ipv4(&text)).transpose();
        let gateway = gateway.map_err(|error| Failure {
            code: 2,
            text: format!("invalid value of \"via\": {error}"),
        })?;
        Ok((gateway, device))
    }
}

fn show(route: &Route) -> Result<String> {
    let links = route.links()?;
    let mut text = String::new();
    for entry in route.routes()?.into_iter().filter(|it| it.table == TABLE_MAIN) {
        if entry.kind != RouteEntry::UNICAST {
            write!(text, "{} ", entry.kind_name())?;
        }
        write!(text, "{entry}")?;
        if let Some(gateway) = entry.gateway {
            write!(text, " via {gateway}")?;
        }
        if let Some(index) = entry.device {
            let link = links.iter().find(|link| link.index == index);
            let link =
                link.context("a device was removed during the command: try again")?;
            write!(text, " dev {}", link.name)?;
        }
        if entry.metric != 0 {
            write!(text, " metric {}", entry.metric)?;
        }
        text.push('\n');
    }
    Ok(text)
}
