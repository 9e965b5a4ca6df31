//! `run`: a container of an image.

use anyhow::Result;
use ch02_user::User;
use ch03_limits::Limits;
use ch03_run::{Terminal, walls};
use ch04_overlay::Overlay;
use ch04_pivot_root::{KernelMounts, PivotRoot};
use ch04_volume::Volumes;
use clap::Args;
use common::cli::{Context, Execute};
use common::state::Table;
use common::step::with_hint;
use common::{Container, Exit, rights};

use crate::{
    FromImage, ImageAndCommand, ImageVolumes, Recorded, Store, program_hint,
};

/// The clean-up table of the chapters up to this one.
pub const UNDO: Table = &[ch03_limits::UNDO];

/// The command line of `run`: the options of all chapters so far, the image and the
/// program.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
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
    words: ImageAndCommand,
}

impl Run {
    /// The name of the image.
    ///
    /// # Errors
    /// The name is not valid UTF-8.
    pub fn image(&self) -> Result<&str> {
        self.words.image()
    }

    /// The container, with all parts except the last one, which connects its standard
    /// streams.
    ///
    /// # Errors
    /// There is no such image, or it cannot be downloaded; the state directory cannot
    /// be written.
    pub fn container(self, context: &Context) -> Result<Container> {
        let state = &context.state;
        let name = self.words.image()?;
        let taken = Store::open(state)?.take(name);
        let (image, lock) =
            taken.map_err(|error| with_hint(error, program_hint(state, name)))?;
        let layers = image.directories(state);
        let driver = self.overlay.driver;
        let mut limits = self.limits;
        // `commit` freezes a running container while it copies the container's layer.
        limits.freezable = rights::privileged();
        let given = self.volume.volumes.iter().map(|it| it.guest.as_path());
        let declared = ImageVolumes::new(&image.settings.volumes, given)?;
        let plan = self.words.plan(&image)?;
        let container =
            Container::new(plan).keep(self.overlay.name.clone(), context.undo);
        let container = if self.rm { container } else { container.stay() };
        let recorded = Recorded::new(&image, driver, lock)
            .volumes(&self.volume.volumes, &declared);
        // ANCHOR: parts
        Ok(container
            .part(recorded)
            .part(User::if_needed())
            .part(Limits::new(limits))
            .part(walls(self.uts))
            .part(declared.opening())
            .part(Overlay::new(layers, &self.overlay))
            .part(KernelMounts)
            .part(declared)
            .part(Volumes::new(self.volume))
            .part(PivotRoot::new(self.pivot))
            .part(FromImage::new(&image, state, driver)))
        // ANCHOR_END: parts
    }
}

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct RunAtTerminal {
    #[command(flatten)]
    terminal: ch03_run::Flags,

    #[command(flatten)]
    run: Run,
}

impl Execute for RunAtTerminal {
    fn execute(self, context: &Context) -> Result<Exit> {
        let container = self.run.container(context)?;
        container.part(Terminal::new(&self.terminal)).run()
    }
}
