//! `cargo xtask bench`: measures the cost of the chapters.

mod aim;
mod build;
mod calls;
mod history;
mod images;
mod learn;
mod life;
mod measure;
mod net;
mod peers;
mod plot;
mod private_mounts;
pub(crate) mod record;
mod start;
mod vm;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;

use xtask::vm::accelerator::Choice;

#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    /// Install the programs with which `start` compares, if the package manager has
    /// them
    #[arg(long)]
    install: bool,

    /// Keep the figures with the commit, in the book's data and on its page
    #[arg(long, global = true)]
    record: bool,

    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Start containers: ch04-volume compared with straight-line code that makes the
    /// same system calls, and with crun, bwrap, runc and youki
    Start {
        /// Number of cold and of hot runs of each program
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(30..))]
        runs: u32,

        /// Directory of the containers; /dev/shm/bench excludes the disk
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// Write the figures and a description of the machine as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Images, compared with tar and copying: commit, import, export. Containers,
    /// compared with crun, runc, podman and nsenter: run -d, exec, ps, stop, and 500
    /// idle containers
    Life {
        /// Measure only this [default: both]
        only: Option<life::Theme>,

        /// Number of runs of each
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// Working directory [default: in the build directory]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// Write the figures and a description of the machine as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Networks: a start with and without a network and a published port, its end, a
    /// connection compared with handwritten DNAT rules, and 200 containers on one
    /// network
    Net {
        /// Number of runs of each
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// Working directory [default: in the build directory]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// Write the figures and a description of the machine as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Pulls beside podman, and beside skopeo with tar: their times and their memory. Starts
    /// from an image of ten layers and of one
    Images {
        /// Number of runs of each
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// Directory for all files [default: in the build directory]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// Write the figures and a description of the machine as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Boot VMs: the time until a test's result, and the additional time per test
    Vm {
        /// Number of boots of each kernel
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// Kernels to boot
        #[arg(long, value_delimiter = ',', default_value = "6.1,6.12")]
        kernel: Vec<String>,

        /// Accelerator of the VM
        #[arg(long, default_value = "auto")]
        accel: Choice,

        /// Write the figures and a description of the machine as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Build ch04-volume: from scratch, and after touching its own library
    Build {
        /// Number of builds
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,

        /// Write the figures and a description of the machine as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Verdicts of exercises, in a copy of the checkout: the first one after `cargo
    /// build`, and the one after the solution is written; and the verdict of the first
    /// task of some chapters, after its function is written
    Learn {
        /// Number of exercises
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        exercises: u32,

        /// Number of chapters with a task
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        tasks: u32,

        /// Write the figures and a description of the machine as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Draw the figures as an SVG for the book
    Plot {
        /// Files that --json has written
        #[arg(required = true)]
        files: Vec<PathBuf>,

        /// Output file
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
        Some(What::Learn { exercises, tasks, json }) => {
            (learn::learn(exercises as usize, tasks as usize)?, json)
        }
        Some(What::Plot { files, out }) => return plot::plot(&files, &out),
        None if args.install => return Ok(()),
        None => {
            bail!(
                "nothing to do: expected start, life, net, images, vm, build, learn, plot or \
                 --install"
            )
        }
    };
    if args.record {
        history::add(&record)?;
    }
    match json {
        Some(file) => record.write(&file),
        None => Ok(()),
    }
}
