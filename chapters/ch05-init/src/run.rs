//! This chapter's `run`.

use anyhow::Result;
use ch05_detach::Log;
use ch05_env::EnvironmentFlags;
use clap::Args;
use common::cli::{Context, Execute};
use common::{Exit, SafeBinary};

use crate::Init;

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
    // ANCHOR: parts
    fn execute(self, context: &Context) -> Result<Exit> {
        // This comes first, because it executes the program again: earlier
        // statements would run twice.
        let binary = self.init.then(SafeBinary::exec_self).transpose()?;
        self.streams.check()?;
        let container = self.run.container(context)?;
        let container =
            self.environment_flags.parts(container).part(Init::new(binary));
        self.streams.start(self.streams.parts(container, Log::default()))
    }
    // ANCHOR_END: parts
}
