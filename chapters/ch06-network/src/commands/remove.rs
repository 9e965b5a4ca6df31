//! `network remove`: remove networks that no container uses.

use anyhow::Result;
use ch02_net::Route;
use clap::Args;
use common::Exit;
use common::cli::{Context, Execute};
use common::state::Name;

use super::{may_change_devices, tell};
use crate::{Networks, forwarding, shared};

/// Remove networks that no container uses
#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// Names of the networks
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<Name>,
}

impl Execute for Remove {
    fn execute(self, context: &Context) -> Result<Exit> {
        let (here, _shared) = shared::enter_if_there(&context.state)?;
        if here {
            may_change_devices("network remove")?;
        }
        let networks = Networks::lock(&context.state)?;
        let route = Route::open()?;
        let (mut removed, mut errors) = (Vec::new(), Vec::new());
        for name in self.names {
            match networks.remove(&route, &name, context.undo) {
                Ok(()) => removed.push(name),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(forwarding::restore(&context.state).err());
        tell(&removed, errors)
    }
}
