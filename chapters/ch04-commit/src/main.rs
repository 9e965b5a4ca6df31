//! `ch04-commit commit CONTAINER IMAGE`: what a container wrote, kept as an image.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use ch02_user::User;
use ch03_limits::Limits;
use ch03_run::{Terminal, Walls};
use ch04_commit::{FromImage, ListFlags, Recorded, Store, Words};
use ch04_overlay::Overlay;
use ch04_pivot_root::{KernelMounts, PivotRoot};
use ch04_volume::Volumes;
use clap::{Args, Parser, Subcommand};
use common::id::Name;
use common::state::State;
use common::{Container, Exit, cli, rights};

/// Chapter 4, commit: images.
///
/// A container stays when its program has ended, until `rm`. What it has written
/// becomes the topmost layer of a new image, or a tar.
#[derive(Parser)]
#[command(name = "ch04-commit", after_help = common::after_help!("\
Try:
  ch04-commit run --name one busybox sh -c 'echo hello > /greeting'
  ch04-commit commit one greeting
  ch04-commit run --rm greeting cat /greeting
  ch04-commit export one | tar -t | head
  ch04-commit rm one; ch04-commit rmi greeting; ch04-commit images
"))]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a program in a container of an image
    Run(Box<Run>),
    /// Make an image, or a tar, of a container
    Commit(Commit),
    /// Write a container's file system as a tar
    Export(Export),
    /// Make an image of a tar or a directory
    Import(Import),
    /// List the images
    Images(ListFlags),
    /// Remove images that no container uses
    Rmi(Rmi),
    /// Remove containers that have ended
    Rm(Rm),
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

    /// Remove the container when its program has ended
    #[arg(long)]
    rm: bool,

    #[command(flatten)]
    words: Words,
}

#[derive(Args)]
struct Commit {
    /// Write a tar instead, packed as its name ends: .tar, .tar.gz, .tar.zst
    ///
    /// "-" is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Its name, its id, or what only its id begins with
    container: String,

    /// The name of the new image; what had it before is forgotten
    #[arg(required_unless_present = "output", conflicts_with = "output")]
    image: Option<Name>,
}

#[derive(Args)]
struct Export {
    /// Packed as its name ends: .tar, .tar.gz, .tar.zst
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Its name, its id, or what only its id begins with
    container: String,
}

#[derive(Args)]
struct Import {
    /// A tar, also packed by gzip or zstd; a directory; "-" is standard input
    #[arg(value_name = "FILE|DIR|-")]
    from: PathBuf,

    /// The name of the new image; what had it before is forgotten
    image: Name,
}

#[derive(Args)]
struct Rmi {
    /// Their names
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Args)]
struct Rm {
    /// Their names, their ids, or what only those begin with
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

fn main() -> ExitCode {
    cli::main(|Cli { action }| {
        let state = State::locate()?;
        match action {
            Action::Run(flags) => return run(&state, *flags),
            Action::Commit(Commit { output: Some(file), container, .. }) => {
                ch04_commit::export(&state, &container, &file)?;
            }
            Action::Commit(Commit { container, image, .. }) => {
                let image = image.expect("the command line asks for it");
                ch04_commit::commit(&state, &container, &image)?;
            }
            Action::Export(Export { output, container }) => {
                ch04_commit::export(&state, &container, &output)?;
            }
            Action::Import(Import { from, image }) => {
                ch04_commit::import(&state, &from, &image)?;
            }
            Action::Images(flags) => {
                let text = ch04_commit::list(&Store::open(&state)?, &flags)?;
                // A reader who went away has seen enough.
                let _ = std::io::stdout().write_all(text.as_bytes());
            }
            Action::Rmi(Rmi { images }) => {
                let store = Store::open(&state)?;
                each(&images, |name| store.remove(name))?;
            }
            Action::Rm(Rm { containers }) => {
                let store = Store::open(&state)?;
                each(&containers, |word| store.remove_container(word))?;
            }
        }
        Ok(Exit::Code(0))
    })
}

/// All are tried; the errors come as one.
fn each(words: &[String], act: impl Fn(&str) -> Result<()>) -> Result<()> {
    let errors = words.iter().filter_map(|word| act(word).err());
    let errors: Vec<_> = errors.map(|error| common::step::report(&error)).collect();
    anyhow::ensure!(errors.is_empty(), "{}", errors.join("\nand: "));
    Ok(())
}

fn run(state: &State, flags: Run) -> Result<Exit> {
    let (image, hold) = Store::open(state)?.take(flags.words.image()?)?;
    let layers = image.directories(state);
    let driver = flags.overlay.driver;
    let mut limits = flags.limits;
    // What runs can be frozen while its layer is copied.
    limits.freezable = rights::privileged();
    let run = flags.words.run(&image);
    let container = Container::new(run)?.keep(flags.overlay.name.clone());
    let container = if flags.rm { container } else { container.stay() };
    // ANCHOR: parts
    container
        .part(Recorded::new(&image, driver, hold))
        .part(FromImage::new(&image, driver))
        .part(User::if_needed())
        .part(Limits::new(limits))
        .part(Walls::new(flags.uts))
        .part(Overlay::new(layers, &flags.overlay))
        .part(KernelMounts)
        .part(Volumes::new(flags.volume))
        .part(PivotRoot::new(flags.pivot))
        .part(Terminal::new(&flags.terminal))
        .run()
    // ANCHOR_END: parts
}
