//! `ch02-union run --lower L --upper U --work W sh`: try a union mount.

use std::process::ExitCode;

use ch02_mount::Mount;
use ch02_pid::Pid;
use ch02_union::Merged;
use ch02_user::User;
use clap::{Args, Parser, Subcommand};
use common::{Container, cli};

/// Chapter 2, union mount: several directory trees, merged into one.
///
/// The program starts in the merged tree. The lower trees do not change. The upper
/// tree keeps all writes for the next run. The mount is not visible on the host.
#[derive(Parser)]
#[command(name = "ch02-union", after_help = common::after_help!("\
Try:
  mkdir lower upper work; echo one > lower/a; echo two > lower/b
  ch02-union run --lower lower --upper upper --work work \\
      sh -c 'echo more >> a; rm b; ls'
  ls -l lower upper                           a file copied up, and a whiteout
  mkdir upper2
  ch02-union run --driver copy --lower lower --upper upper2 --work work ls
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in a merged tree
    Run(Run),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    union: ch02_union::Flags,

    #[command(flatten)]
    run: cli::Run,
}

fn main() -> ExitCode {
    cli::main(|Cli { action: Action::Run(flags) }| {
        let mut container = Container::new(flags.run.plan()?);
        if flags.union.merged.is_none() {
            // The container directory holds the mount point of the merged tree.
            container = container.keep(None, &[]);
        }
        container
            .part(User::if_needed())
            .part(Pid)
            .part(Mount)
            .part(Merged::new(flags.union)?)
            .run()
    })
}
