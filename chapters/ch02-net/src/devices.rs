//! The commands for network devices.

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use common::cli::{Context, Execute};
use common::{Exit, output};

use crate::commands::{AddressCommand, RouteCommand};
use crate::{Route, TargetNamespace, list};

/// Network devices, addresses and routes by hand
#[derive(Debug, Subcommand)]
pub enum Devices {
    /// Show the devices of this process's network namespace
    ///
    /// STATE        up if the device was set up; without R in FLAGS it has no carrier
    /// FLAGS        as in `netstat -i`: A all multicast, B broadcast, L loopback,
    ///              M multicast, O no ARP, P promiscuous, p point to point,
    ///              R running, U up
    /// PEER         the other end of a veth pair; ifN is index N in another namespace
    /// MASTER       the bridge that the device is a port of
    /// NETNS-LOCAL  whether the device must stay in its namespace; ? if this is
    ///              unknown: before Linux 6.15, only root can find it out
    #[command(verbatim_doc_comment)]
    List,
    /// Set a device up
    Up {
        /// Its name
        device: String,
    },
    /// Set a device down
    Down {
        /// Its name
        device: String,
    },
    /// Add, remove or show addresses of devices
    #[command(subcommand, visible_alias = "addr")]
    Address(AddressCommand),
    /// Add, remove or show routes
    #[command(subcommand)]
    Route(RouteCommand),
    /// Create a device
    Make {
        /// Kind of the device
        kind: Kind,

        /// Its name
        device: String,

        /// Name of the other end (veth only)
        peer: Option<String>,
    },
    /// Remove a device (veth: both ends)
    Remove {
        /// Its name
        device: String,
    },
    /// Move a device to the network namespace of a process
    Move {
        /// Its name
        device: String,

        /// Process ID
        #[arg(value_name = "PID")]
        process: u32,
    },
    /// Make a device a port of a bridge
    Master {
        /// Its name
        device: String,
        /// Name of the bridge
        bridge: String,
    },
}

/// The kinds of devices that can be created.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// A virtual switch
    Bridge,
    /// Two connected devices, like the ends of a cable
    Veth,
}

impl Devices {
    /// Execute the command.
    ///
    /// # Errors
    /// A device is not found or already exists; the second name of a veth pair is
    /// missing; EPERM if the caller lacks `CAP_NET_ADMIN`.
    pub fn run(self) -> Result<Exit> {
        match self {
            Devices::List => print(&list()?),
            Devices::Address(command) => print(&command.run()?),
            Devices::Route(command) => print(&command.run()?),
            Devices::Up { device } => change(|route| route.set_up(&device)),
            Devices::Down { device } => change(|route| route.set_down(&device)),
            Devices::Make { kind, device, peer } => {
                change(|route| make(route, kind, &device, peer))
            }
            Devices::Remove { device } => change(|route| route.delete(&device)),
            Devices::Move { device, process } => change(|route| {
                route.move_to(&device, TargetNamespace::Process(process))
            }),
            Devices::Master { device, bridge } => {
                change(|route| route.set_master(&device, &bridge))
            }
        }
    }
}

impl Execute for Devices {
    fn execute(self, _context: &Context) -> Result<Exit> {
        self.run()
    }
}

fn print(text: &str) -> Result<Exit> {
    output::print(text)?;
    Ok(Exit::Code(0))
}

/// Change this process's own network namespace.
fn change(what: impl FnOnce(&Route) -> Result<()>) -> Result<Exit> {
    what(&Route::open()?)?;
    Ok(Exit::Code(0))
}

fn make(route: &Route, kind: Kind, name: &str, peer: Option<String>) -> Result<()> {
    match (kind, peer) {
        (Kind::Bridge, None) => route.add("bridge", name),
        (Kind::Veth, Some(peer)) => route.add_veth(name, &peer),
        (Kind::Veth, None) => {
            bail!("a veth pair has two ends: use make veth {name} SECOND-NAME")
        }
        (_, Some(peer)) => {
            bail!("only a veth pair has a second end: remove {peer}")
        }
    }
}
