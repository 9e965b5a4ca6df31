//! `network prune`: all networks that no container uses.

use anyhow::Result;
use ch02_net::Route;
use clap::Args;
use common::Exit;
use common::cli::{Act, Context};

use super::{may_change_devices, tell};
use crate::{Networks, forwarding, shared};

/// Remove all networks that no container uses
///
/// Prints their names.
#[derive(Args, Debug)]
pub(crate) struct Prune {}

impl Act for Prune {
    fn act(self, context: &Context) -> Result<Exit> {
        let (here, _shared) = shared::enter_if_there(&context.state)?;
        if here {
            may_change_devices("network prune")?;
        }
        let networks = Networks::lock(&context.state)?;
        let (removed, mut errors) = networks.prune(&Route::open()?, context.undo)?;
        errors.extend(forwarding::restore(&context.state).err());
        tell(&removed, errors)
    }
}
