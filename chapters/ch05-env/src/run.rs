//! This chapter's `run`.

use anyhow::Result;
use ch05_detach::Log;
use clap::Args;
use common::Exit;
use common::cli::{Act, Context};

use crate::Surroundings;

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    #[command(flatten)]
    streams: ch05_detach::Flags,

    #[command(flatten)]
    surroundings: Surroundings,

    #[command(flatten)]
    run: ch04_image::Run,
}

impl Act for Run {
    fn act(self, context: &Context) -> Result<Exit> {
        self.streams.check()?;
        let container = self.run.container(context)?;
        let container = self.surroundings.parts(container);
        self.streams.start(self.streams.parts(container, Log::default()))
    }
}
