//! This chapter's `run`.

use anyhow::Result;
use ch05_detach::Log;
use ch05_env::EnvironmentFlags;
use ch05_init::Init;
use clap::Args;
use common::cli::{Context, Execute};
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
    environment_flags: EnvironmentFlags,

    /// Run a small init process as PID 1, which forwards signals and reaps zombies
    #[arg(long)]
    init: bool,

    #[command(flatten)]
    run: ch04_image::Run,
}

impl Execute for Run {
    fn execute(self, context: &Context) -> Result<Exit> {
        self.execute_with(context, |_| Ok(()), |container| container)
    }
}

impl Run {
    /// The name of the image.
    ///
    /// # Errors
    /// The name is not valid UTF-8.
    pub fn image(&self) -> Result<&str> {
        self.run.image()
    }

    /// Run the program. `more` adds the parts of a later chapter after the root
    /// filesystem. `enter` is called first, and may enter the namespaces in which
    /// the container is created. Its value is kept until the supervisor ends.
    ///
    /// # Errors
    /// The errors of `enter`, [`Container::run`] and [`Container::detach`].
    pub fn execute_with<T>(
        self,
        context: &Context,
        enter: impl FnOnce(&State) -> Result<T>,
        more: impl FnOnce(Container) -> Container,
    ) -> Result<Exit> {
        // This comes first, because it executes the program again: earlier
        // statements would run twice.
        let binary = self.init.then(SafeBinary::exec_self).transpose()?;
        let _kept = enter(&context.state)?;
        let container = more(self.run.container(context)?);
        let container =
            self.environment_flags.parts(container).part(Init::new(binary));
        // From this chapter on, -d may be combined with -t and -i, because a client
        // may attach later.
        let log = Log::default();
        let container = self
            .streams
            .parts(container, log.clone())
            .part(Attachable::new(log, &self.streams));
        self.streams.start(container)
    }
}
