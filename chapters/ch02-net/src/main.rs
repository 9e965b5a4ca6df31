//! `ch02-net run`: a network without a way out; and what is done to devices.

use std::ffi::OsString;
use std::process::ExitCode;

use ch02_ipc::Ipc;
use ch02_mount::Mount;
use ch02_net::{Devices, Net, Pair};
use ch02_pid::Pid;
use ch02_user::User;
use ch02_uts::Uts;
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

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
    /// Join two new network namespaces, 172.18.0.11 and 172.18.0.12, by a cable
    Pair(Words),
    #[command(flatten)]
    Devices(Devices),
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
        Action::Devices(command) => command.run(),
    })
}
