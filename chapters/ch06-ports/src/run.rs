//! This chapter's `run`.

use anyhow::{Result, ensure};
use ch04_image::Store;
use ch06_connect::Publication;
use ch06_network::shared;
use clap::Args;
use common::Exit;
use common::cli::{Context, Execute};
use common::state::Name;

use crate::{Flags, Ports, Reservation};

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    #[command(flatten)]
    flags: Flags,

    #[command(flatten)]
    run: ch06_connect::Run,
}

impl Execute for Run {
    fn execute(self, context: &Context) -> Result<Exit> {
        let Run { flags, run } = self;
        // Check the options before anything is created.
        let declared = if flags.publish_all {
            Store::open(&context.state)?.take(run.image()?)?.0.settings.ports
        } else {
            Vec::new()
        };
        let ports = flags.ports(&declared)?;
        let publishes = flags.publish_all || !ports.is_empty();
        ensure!(
            !publishes || run.network().is_some(),
            "--publish needs a network that `network create` made: add --network NETWORK"
        );
        let publication = Publication::default();
        let part = if shared::is_needed() {
            // Create the sockets here, while the process is in the host's network
            // namespace.
            let listening = Reservation::take(&context.state, &ports)?;
            Ports::by_proxy(listening, publication.clone())
        } else {
            Ports::new(ports, publication.clone())
        };
        run.execute_with(context, publication, |container| container.part(part))
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

    /// The network of this program that the container is connected to, if any.
    #[must_use]
    pub fn network(&self) -> Option<&Name> {
        self.run.network()
    }
}
