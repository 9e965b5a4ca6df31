//! `run` of this chapter.

use anyhow::Result;
use clap::Args;
use common::Exit;
use common::cli::{Act, Context};

use crate::{Connection, Flags, Publication};

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    #[command(flatten)]
    network: Flags,

    #[command(flatten)]
    run: ch05_attach::Run,
}

impl Act for Run {
    fn act(self, context: &Context) -> Result<Exit> {
        let Run { network, run } = self;
        run.act_with(context, |container| {
            container.part(Connection::new(
                network,
                Publication::default(),
                context.undo,
            ))
        })
    }
}
