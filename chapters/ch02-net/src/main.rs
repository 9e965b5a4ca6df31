//! `ch02-net run`: a network without a way out; and what is done to devices.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use ch02_ipc::Ipc;
use ch02_mount::Mount;
use ch02_net::commands::{AddressCommand, RouteCommand};
use ch02_net::{Net, Pair, Place, Route, list};
use ch02_pid::Pid;
use ch02_user::User;
use ch02_uts::Uts;
use clap::{Args, Parser, Subcommand, ValueEnum};
use common::{Container, Exit, cli, output};

/// Chapter 2, network namespace: nothing but lo, and that is down.
#[derive(Parser)]
#[command(name = "ch02-net", after_help = common::after_help!("\
Try:
  ch02-net run cat /proc/net/dev
  ch02-net run sh -c '$0 up lo; ping -c 1 127.0.0.1' $(which ch02-net)
  ch02-net pair                     two namespaces, a cable, a ping either way
  ch02-net pair sh                  a shell in one; the other is 172.18.0.12
Devices, addresses and routes by hand, as with ip(8), as root:
  ch02-net make veth left right; ch02-net move right PID
  ch02-net address add 192.168.10.1/24 dev left; ch02-net up left
  ch02-net route add default via 192.168.10.254; ch02-net route show
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program with a network of its own
    Run(Run),
    /// Show the devices of this process' network namespace
    ///
    /// STATE        up if the device was set up; without R in FLAGS it has no carrier
    /// FLAGS        as in `netstat -i`: A all multicast, B broadcast, L loopback,
    ///              M multicast, O no ARP, P promiscuous, p point to point,
    ///              R running, U up
    /// PEER         the other end of a veth pair; ifN is index N in another namespace
    /// MASTER       the bridge that the device is a port of
    /// NETNS-LOCAL  whether the device must stay in its namespace; ? where that is
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
    /// Make a device
    Make {
        /// Which
        kind: Kind,

        /// Its name
        device: String,

        /// The name of the other end, which a veth pair has
        peer: Option<String>,
    },
    /// Remove a device; of a veth pair both
    Remove {
        /// Its name
        device: String,
    },
    /// Move a device to the network namespace of a process
    Move {
        /// Its name
        device: String,

        /// The process
        #[arg(value_name = "PID")]
        process: u32,
    },
    /// Make a device a port of a bridge
    Master {
        /// Its name
        device: String,
        /// The name of the bridge
        bridge: String,
    },
    /// Join two new network namespaces, 172.18.0.11 and 172.18.0.12, by a cable
    Pair(Words),
}

/// The kinds of devices that can be made.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// A switch
    Bridge,
    /// Two devices, joined by a cable
    Veth,
}

#[derive(Args)]
struct Words {
    #[command(flatten)]
    trace: cli::Trace,

    /// A program, run as 172.18.0.11, and its arguments [default: a ping either way]
    #[arg(trailing_var_arg = true)]
    command: Vec<OsString>,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    uts: ch02_uts::Flags,

    #[command(flatten)]
    run: cli::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| match action {
        Action::Run(flags) => Container::new(flags.run.plan()?)
            .part(User::if_needed())
            .part(Uts::new(flags.uts))
            .part(Ipc)
            .part(Pid)
            .part(Mount)
            .part(Net)
            .run(),
        // ANCHOR: pair
        Action::Pair(Words { trace, command }) => {
            let pair = Pair::new(command.is_empty());
            Container::new(cli::Run { trace, command }.plan()?)
                .part(User::if_needed())
                .part(Pid)
                .part(Mount)
                .part(Net)
                .part(pair)
                .run()
        }
        // ANCHOR_END: pair
        Action::List => print(&list()?),
        Action::Address(command) => print(&command.run()?),
        Action::Route(command) => print(&command.run()?),
        Action::Up { device } => change(|route| route.set_up(&device)),
        Action::Down { device } => change(|route| route.set_down(&device)),
        Action::Make { kind, device, peer } => {
            change(|route| make(route, kind, &device, peer))
        }
        Action::Remove { device } => change(|route| route.delete(&device)),
        Action::Move { device, process } => {
            change(|route| route.move_to(&device, Place::Process(process)))
        }
        Action::Master { device, bridge } => {
            change(|route| route.set_master(&device, &bridge))
        }
    })
}

fn print(text: &str) -> Result<Exit> {
    output::print(text)?;
    Ok(Exit::Code(0))
}

/// Change this process' own network namespace.
fn change(what: impl FnOnce(&Route) -> Result<()>) -> Result<Exit> {
    what(&Route::open()?)?;
    Ok(Exit::Code(0))
}

fn make(route: &Route, kind: Kind, name: &str, peer: Option<String>) -> Result<()> {
    match (kind, peer) {
        (Kind::Bridge, None) => route.add("bridge", name),
        (Kind::Veth, Some(peer)) => route.add_veth(name, &peer),
        (Kind::Veth, None) => {
            bail!("a veth pair has two ends: make veth {name} and a second name")
        }
        (_, Some(peer)) => {
            bail!("only a veth pair has a second end: leave {peer} out")
        }
    }
}
