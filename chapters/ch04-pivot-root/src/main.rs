//! `ch04-pivot-root run -ti sh`: busybox as the root filesystem.

use std::process::ExitCode;

use ch02_user::User;
use ch03_limits::Limits;
use ch03_run::{Terminal, walls};
use ch04_pivot_root::{KernelMounts, PivotRoot, Tree};
use clap::{Args, Parser, Subcommand};
use common::state::State;
use common::{Container, cli};
use provision::busybox;

/// Chapter 4, pivot_root: a container with its own root filesystem.
///
/// The root filesystem is busybox: one program that provides three hundred commands.
/// If the state directory does not contain busybox, the program downloads it first.
/// Changes in the root filesystem are permanent; the next chapter adds a write layer.
#[derive(Parser)]
#[command(name = "ch04-pivot-root", after_help = common::after_help!("\
Try:
  ch04-pivot-root run -ti sh           then: ls /, ls /bin, mount, exit
  ch04-pivot-root run cat /proc/mounts
  ch04-pivot-root run --chroot nsenter --mount=/proc/self/ns/mnt ls /
                                       leave the chroot with one command
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program with busybox as its root filesystem
    Run(Run),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    terminal: ch03_run::Flags,

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
        let state = State::locate()?;
        let image = busybox::image(&state)?;
        // ANCHOR: parts
        Container::new(flags.run.plan()?)
            .keep(None, &[ch03_limits::UNDO])
            .part(User::if_needed())
            .part(Limits::new(flags.limits))
            .part(walls(flags.uts))
            .part(Tree::new(image.directories(&state).remove(0)))
            .part(KernelMounts)
            .part(PivotRoot::new(flags.pivot))
            .part(Terminal::new(&flags.terminal))
            .run()
        // ANCHOR_END: parts
    })
}
