//! This chapter's `run`.

use anyhow::Result;
use ch05_detach::Log;
use clap::Args;
use common::Exit;
use common::cli::{Context, Execute};

use crate::EnvironmentFlags;

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    #[command(flatten)]
    streams: ch05_detach::Flags,

    #[command(flatten)]
    environment_flags: EnvironmentFlags,

    #[command(flatten)]
    run: ch04_image::Run,
}

impl Execute for Run {
    fn execute(self, context: &Context) -> Result<Exit> {
        self.streams.check()?;
        let container = self.run.container(context)?;
        let container = self.environment_flags.parts(container);
        self.streams.start(self.streams.parts(container, Log::default()))
    }
}
