//! This chapter's `run`.

use anyhow::Result;
use ch06_network::shared;
use clap::Args;
use common::cli::{Context, Execute};
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

impl Execute for Run {
    fn execute(self, context: &Context) -> Result<Exit> {
        self.execute_with(context, Publication::default(), |container| container)
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

    /// The network to which the container is connected, if it is a network of this
    /// program.
    #[must_use]
    pub fn network(&self) -> Option<&Name> {
        match &self.network.network {
            Some(Mode::Network(name)) => Some(name),
            _ => None,
        }
    }

    /// Run the program. `before` adds the parts of a later chapter before the
    /// connection; `publication` contains the ports that they publish.
    ///
    /// # Errors
    /// The errors of [`ch05_attach::Run::execute_with`].
    pub fn execute_with(
        self,
        context: &Context,
        publication: Publication,
        before: impl FnOnce(Container) -> Container,
    ) -> Result<Exit> {
        let Run { network, run } = self;
        let named = matches!(network.network, Some(Mode::Network(_)));
        let enter =
            |state: &State| if named { shared::enter(state) } else { Ok(None) };
        run.execute_with(context, enter, |container| {
            before(container).part(Connection::new(
                network,
                publication,
                context.undo,
            ))
        })
    }
}
