//! The command lines of this chapter.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use ch04_image::{Images, Rmi, Store};
use clap::Args;
use common::Exit;
use common::cli::slow::Slow;
use common::cli::{Context, Execute};
use common::images::Reference;
use common::output;
use common::step::Step;

use crate::add::Adder;

common::commands! {
    /// The commands about images.
    #[derive(Debug)]
    pub enum Commands {
        /// The commands of the earlier chapters.
        #[command(flatten)]
        Earlier(ch04_tar::Commands),
        /// Write images, with all their layers, as an archive
        Save(Save),
        /// Add the images of an archive
        Load(Load),
        /// Give an image an additional name
        Tag(Tag),
        /// Show how the layers of an image were made
        History(History),
        /// Manage images
        Image(Image),
    }
}

/// Write images, with all their layers, as an archive
#[derive(Args, Debug)]
pub struct Save {
    /// Output file; the extension selects the compression: .tar, .tar.gz, .tar.zst
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// The names of the images, their IDs, or unique ID prefixes
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Execute for Save {
    fn execute(self, context: &Context) -> Result<Exit> {
        let store = Store::open(&context.state)?;
        let _slow = Slow::begin("save");
        crate::save(&store, &self.images, &self.output)?;
        Ok(Exit::Code(0))
    }
}

/// Add the images of an archive
///
/// The archive is an OCI image layout, or was made by `docker save`; it may be
/// compressed by gzip or zstd.
#[derive(Args, Debug)]
pub struct Load {
    /// The archive; "-" is standard input
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    input: PathBuf,

    /// Print only the names of the images
    #[arg(short, long)]
    quiet: bool,

    /// The name that the image gets, instead of the names in the archive
    #[arg(long, value_name = "IMAGE", value_parser = ch04_commit::name)]
    name: Option<Reference>,
}

impl Execute for Load {
    fn execute(self, context: &Context) -> Result<Exit> {
        let shown = self.input.display().to_string();
        let from: Box<dyn Read + Send> = if shown != "-" {
            let file = File::open(&self.input);
            Box::new(file.untraced(|| format!("open(2) {shown}"))?)
        } else if io::stdin().is_terminal() {
            bail!(
                "an archive cannot be read from a terminal: use -i FILE, or a pipe"
            );
        } else {
            Box::new(io::stdin())
        };
        let adder = Adder::new(&context.state)?;
        let slow = Slow::begin(&format!("load {shown}"));
        let loaded = crate::load(&adder, from, &shown, self.name.as_ref());
        drop(slow);
        let loaded = loaded.with_context(|| format!("load {shown}"))?;
        let title = if self.quiet { "" } else { "Loaded image: " };
        let names = loaded.iter().flat_map(|image| &image.names);
        print(&names.map(|name| format!("{title}{name}\n")).collect::<String>())
    }
}

/// Give an image an additional name
#[derive(Args, Debug)]
pub struct Tag {
    /// The name of the image, its ID, or a unique ID prefix
    image: String,

    /// The additional name, NAME[:TAG]; another image that has this name loses it
    #[arg(value_parser = ch04_commit::name)]
    name: Reference,
}

impl Execute for Tag {
    fn execute(self, context: &Context) -> Result<Exit> {
        let store = Store::open(&context.state)?;
        // Find the image first without the lock: a download of busybox takes the lock
        // itself.
        store.find(&self.image)?;
        let _lock = store.layout().lock_exclusive()?;
        let image = store.find(&self.image)?;
        store.add(&image, &[self.name])?;
        store.sweep()?;
        Ok(Exit::Code(0))
    }
}

/// Show how the layers of an image were made
#[derive(Args, Debug)]
pub struct History {
    /// The name of the image, its ID, or a unique ID prefix
    image: String,
}

impl Execute for History {
    fn execute(self, context: &Context) -> Result<Exit> {
        let store = Store::open(&context.state)?;
        print(&crate::history::history(&store, &self.image)?)
    }
}

/// Manage images
#[derive(Args, Debug)]
pub struct Image {
    #[command(subcommand)]
    action: ImageCommands,
}

impl Execute for Image {
    fn execute(self, context: &Context) -> Result<Exit> {
        self.action.execute(context)
    }
}

common::commands! {
    /// The commands of `image`.
    #[derive(Debug)]
    pub enum ImageCommands {
        /// Print all properties of images as JSON
        Inspect(Inspect),
        /// Remove images without a tag, and interrupted downloads
        Prune(Prune),
        /// List the images
        Ls(Images),
        /// Remove images that no container uses
        Rm(Rmi),
        /// Give an image an additional name
        Tag(Tag),
        /// Show how the layers of an image were made
        History(History),
        /// Write images, with all their layers, as an archive
        Save(Save),
        /// Add the images of an archive
        Load(Load),
    }
}

/// Print all properties of images as JSON
#[derive(Args, Debug)]
pub struct Inspect {
    /// The names of the images, their IDs, or unique ID prefixes
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Execute for Inspect {
    fn execute(self, context: &Context) -> Result<Exit> {
        let store = Store::open(&context.state)?;
        let all: Result<Vec<_>> =
            self.images.iter().map(|image| crate::inspect(&store, image)).collect();
        print(&(serde_json::to_string_pretty(&all?)? + "\n"))
    }
}

/// Remove images without a tag, and interrupted downloads
#[derive(Args, Debug)]
pub struct Prune {
    /// Remove every image that no container uses
    #[arg(short, long)]
    all: bool,
}

impl Execute for Prune {
    fn execute(self, context: &Context) -> Result<Exit> {
        let removed = crate::prune(&Store::open(&context.state)?, self.all)?;
        print(&removed.iter().map(|name| format!("{name}\n")).collect::<String>())
    }
}

fn print(text: &str) -> Result<Exit> {
    output::report(text, Vec::new())
}
