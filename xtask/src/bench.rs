//! `cargo xtask bench`: what the chapters cost.

mod apart;
mod measure;
mod peers;
mod start;
mod vm;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::vm::accelerator::Choice;

#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    /// Install what `start` compares with, as far as the package manager has it
    #[arg(long)]
    install: bool,

    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Start containers: ch04-volume beside a straight line of the same calls, and
    /// beside crun, bwrap, runc and youki
    Start {
        /// How often each, cold and hot
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(30..))]
        runs: u32,

        /// Where the containers' directories lie: /dev/shm/bench leaves the disk out
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
    /// Boot VMs: from nothing to a test's result, and what a test costs on top
    Vm {
        /// How many boots of each kernel
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// The kernels
        #[arg(long, value_delimiter = ',', default_value = "6.1,6.12")]
        kernel: Vec<String>,

        /// Who runs the instructions
        #[arg(long, default_value = "auto")]
        accel: Choice,
    },
}

pub(crate) fn run(args: Args) -> Result<()> {
    if args.install {
        peers::install()?;
    }
    match args.what {
        Some(What::Start { runs, state }) => start::start(runs, state),
        Some(What::Vm { runs, kernel, accel }) => vm::vm(runs, &kernel, accel),
        None if args.install => Ok(()),
        None => bail!("nothing to do: start, vm or --install"),
    }
}
