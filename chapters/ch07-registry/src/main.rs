//! `ch07-registry manifest NAME`: what a registry says about an image.

use std::process::ExitCode;

use ch07_registry::{Login, Logout, ShowManifest};
use clap::Parser;
use common::cli::{self, Context, Execute};

/// Chapter 7, registries: log in, and print the manifest of an image.
#[derive(Parser)]
#[command(
    name = "ch07-registry",
    after_help = "\
Try:
  ch07-registry manifest localhost:5000/busybox
  echo secret | ch07-registry login --username me --password-stdin localhost:5000
  ch07-registry logout localhost:5000"
)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

common::commands! {
    enum Action {
        Login(Login),
        Logout(Logout),
        Manifest(ShowManifest),
    }
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| action.execute(&Context::locate(&[])?))
}
