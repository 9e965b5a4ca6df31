//! `ch04-volume run -ti sh`: mount directories of the host in a container.

use std::process::ExitCode;

use ch02_user::User;
use ch03_limits::Limits;
use ch03_run::{Terminal, walls};
use ch04_overlay::Overlay;
use ch04_pivot_root::{KernelMounts, PivotRoot};
use ch04_volume::Volumes;
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};
use provision::busybox;

/// Chapter 4, volume: a directory of the host in the container.
///
/// Data in the container's write layer is removed when the container ends. Data in a
/// volume stays on the host.
#[derive(Parser)]
#[command(name = "ch04-volume", after_help = common::after_help!("\
Try:
  ch04-volume run -ti -v /tmp/v:/test sh
  ch04-volume run -v /tmp/v:/test sh -c 'date > /test/now'; cat /tmp/v/now
  ch04-volume run -v /etc:/host-etc:ro touch /host-etc/x      refused
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program with volumes
    Run(Run),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    terminal: ch03_run::Flags,

    #[command(flatten)]
    volume: ch04_volume::Flags,

    #[command(flatten)]
    overlay: ch04_overlay::Flags,

    #[command(flatten)]
    pivot: ch04_pivot_root::Flags,

    #[command(flatten)]
    limits: ch03_limits::Flags,

    #[command(flatten)]
    uts: ch02_uts::Flags,

    #[command(flatten)]
    run: cli::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action: Action::Run(flags) }| {
        let container = Container::new(flags.run.plan()?)
            .keep(flags.overlay.name.clone(), &[ch03_limits::UNDO]);
        let image = busybox::image(container.state())?;
        let layers = image.directories(container.state());
        // ANCHOR: parts
        container
            .part(User::if_needed())
            .part(Limits::new(flags.limits))
            .part(walls(flags.uts))
            .part(Overlay::new(layers, &flags.overlay))
            .part(KernelMounts)
            .part(Volumes::new(flags.volume))
            .part(PivotRoot::new(flags.pivot))
            .part(Terminal::new(&flags.terminal))
            .run()
        // ANCHOR_END: parts
    })
}
