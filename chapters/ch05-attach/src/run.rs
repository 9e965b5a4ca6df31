//! `run` of this chapter.

use anyhow::Result;
use ch05_detach::Log;
use ch05_env::Surroundings;
use ch05_init::Init;
use clap::Args;
use common::cli::{Act, Context};
use common::state::State;
use common::{Container, Exit, SafeBinary};

use crate::Attachable;

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    #[command(flatten)]
    streams: ch05_detach::Flags,

    #[command(flatten)]
    surroundings: Surroundings,

    /// Put a small process 1 above the program, which forwards signals and reaps
    #[arg(long)]
    init: bool,

    #[command(flatten)]
    run: ch04_image::Run,
}

impl Act for Run {
    fn act(self, context: &Context) -> Result<Exit> {
        self.act_with(context, |_| Ok(()), |container| container)
    }
}

impl Run {
    /// The name of the image.
    ///
    /// # Errors
    /// It is not text.
    pub fn image(&self) -> Result<&str> {
        self.run.image()
    }

    /// Run it, with the parts that a later chapter adds behind the root filesystem.
    /// `enter` goes first, to where the container is made; its value is kept until the
    /// end of the host side.
    ///
    /// # Errors
    /// As [`Container::run`] and [`Container::detach`].
    pub fn act_with<T>(
        self,
        context: &Context,
        enter: impl FnOnce(&State) -> Result<T>,
        more: impl FnOnce(Container) -> Container,
    ) -> Result<Exit> {
        // First of all: everything before it happens twice.
        let binary = self.init.then(SafeBinary::exec_self).transpose()?;
        let _kept = enter(&context.state)?;
        let container = more(self.run.container(context)?);
        let container = self.surroundings.parts(container).part(Init::new(binary));
        // -d goes with -t and -i from here on: a later process may attach.
        let log = Log::default();
        let container = self
            .streams
            .parts(container, log.clone())
            .part(Attachable::new(log, &self.streams));
        self.streams.start(container)
    }
}
