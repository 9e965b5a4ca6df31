//! `run` of this chapter.

use anyhow::Result;
use ch06_network::shared;
use clap::Args;
use common::cli::{Act, Context};
use common::state::{Name, State};
use common::{Container, Exit};

use crate::{Connection, Flags, Mode, Publication};

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
        self.act_with(context, Publication::default(), |container| container)
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

    /// The network of this program that the container is connected to, if any.
    #[must_use]
    pub fn network(&self) -> Option<&Name> {
        match &self.network.network {
            Some(Mode::Network(name)) => Some(name),
            _ => None,
        }
    }

    /// Run it, with the parts that a later chapter adds before the connection, and with
    /// what they publish.
    ///
    /// # Errors
    /// As [`ch05_attach::Run::act_with`].
    pub fn act_with(
        self,
        context: &Context,
        publication: Publication,
        before: impl FnOnce(Container) -> Container,
    ) -> Result<Exit> {
        let Run { network, run } = self;
        let named = matches!(network.network, Some(Mode::Network(_)));
        let enter =
            |state: &State| if named { shared::enter(state) } else { Ok(None) };
        run.act_with(context, enter, |container| {
            before(container).part(Connection::new(
                network,
                publication,
                context.undo,
            ))
        })
    }
}
