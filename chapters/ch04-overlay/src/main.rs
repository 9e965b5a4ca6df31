//! `ch04-overlay run -ti sh`: an image and a write layer.

use std::process::ExitCode;

use ch02_user::User;
use ch03_limits::Limits;
use ch03_run::{Terminal, walls};
use ch04_overlay::Overlay;
use ch04_pivot_root::{KernelMounts, PivotRoot};
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};
use provision::busybox;

/// Chapter 4, overlay: an image that stays as it is.
///
/// The container writes on a layer of its own above the image. The layer goes when
/// the container ends; the image is never touched.
#[derive(Parser)]
#[command(name = "ch04-overlay", after_help = common::after_help!("\
Try:
  ch04-overlay run touch /tmp/test.txt      written, and gone again
  ch04-overlay run ls /tmp                  the image is untouched
  ch04-overlay run --show-layers -ti sh     look at the layers from outside
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program above an image, on a write layer of its own
    Run(Run),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    terminal: ch03_run::Flags,

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
            .part(PivotRoot::new(flags.pivot))
            .part(Terminal::new(&flags.terminal))
            .run()
        // ANCHOR_END: parts
    })
}
