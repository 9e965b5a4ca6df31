//! This chapter's `run`.

use anyhow::Result;
use ch05_detach::Log;
use ch05_env::Surroundings;
use clap::Args;
use common::cli::{Act, Context};
use common::{Exit, SafeBinary};

use crate::Init;

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    #[command(flatten)]
    streams: ch05_detach::Flags,

    #[command(flatten)]
    surroundings: Surroundings,

    /// Run a small init process as PID 1, which forwards signals and reaps zombies
    #[arg(long)]
    init: bool,

    #[command(flatten)]
    run: ch04_image::Run,
}

impl Act for Run {
    // ANCHOR: parts
    fn act(self, context: &Context) -> Result<Exit> {
        // This comes first, because it executes the program again: earlier
        // statements would run twice.
        let binary = self.init.then(SafeBinary::exec_self).transpose()?;
        self.streams.check()?;
        let container = self.run.container(context)?;
        let container = self.surroundings.parts(container).part(Init::new(binary));
        self.streams.start(self.streams.parts(container, Log::default()))
    }
    // ANCHOR_END: parts
}
