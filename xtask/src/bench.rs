//! `cargo xtask bench`: what the chapters cost.

mod aim;
mod apart;
mod build;
mod calls;
mod images;
mod life;
mod measure;
mod net;
mod peers;
mod plot;
pub(crate) mod record;
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

        /// Write the figures, and what machine they are of, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Images beside tar and copying: commit, import, export. Containers beside crun,
    /// runc, podman and nsenter: run -d, exec, ps, stop, and 500 that idle
    Life {
        /// Only this [default: both]
        only: Option<life::Theme>,

        /// How often each
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// Where all of it lies [default: in the build directory]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// Write the figures, and what machine they are of, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Networks: a start with and without a network and a published port, its end, a
    /// connection beside DNAT rules written by hand, and 200 containers on one network
    Net {
        /// How often each
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// Where all of it lies [default: in the build directory]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// Write the figures, and what machine they are of, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Pulls beside podman, and beside skopeo with tar: their times and their memory. Starts
    /// from an image of ten layers and of one
    Images {
        /// How often each
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// Where all of it lies [default: in the build directory]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// Write the figures, and what machine they are of, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
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

        /// Write the figures, and what machine they are of, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Build ch04-volume: from nothing, and after a touch of its own library
    Build {
        /// How often
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// Write the figures, and what machine they are of, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Draw what was measured, as an SVG for the book
    Plot {
        /// What --json has written
        #[arg(required = true)]
        files: Vec<PathBuf>,

        /// The drawing
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
}

pub(crate) fn run(args: Args) -> Result<()> {
    if args.install {
        peers::install()?;
    }
    let (record, json) = match args.what {
        Some(What::Start { runs, state, json }) => {
            (start::start(runs, state)?, json)
        }
        Some(What::Life { only, runs, state, json }) => {
            (life::life(only, runs, state)?, json)
        }
        Some(What::Net { runs, state, json }) => (net::net(runs, state)?, json),
        Some(What::Images { runs, state, json }) => {
            (images::images(runs, state)?, json)
        }
        Some(What::Vm { runs, kernel, accel, json }) => {
            (vm::vm(runs, &kernel, accel)?, json)
        }
        Some(What::Build { runs, json }) => (build::build(runs)?, json),
        Some(What::Plot { files, out }) => return plot::plot(&files, &out),
        None if args.install => return Ok(()),
        None => {
            bail!(
                "nothing to do: start, life, net, images, vm, build, plot or --install"
            )
        }
    };
    match json {
        Some(file) => record.write(&file),
        None => Ok(()),
    }
}
