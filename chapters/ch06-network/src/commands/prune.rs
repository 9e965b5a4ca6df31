//! `network prune`: all networks that no container uses.

use anyhow::{Error, Result};
use ch02_net::Route;
use clap::Args;
use common::Exit;
use common::cli::{Act, Context};
use common::state::Name;

use super::{may_change_devices, tell};
use crate::{Networks, forwarding, shared};

/// Remove all networks that no container uses
///
/// Prints their names.
#[derive(Args, Debug)]
pub(crate) struct Prune {}

impl Act for Prune {
    fn act(self, context: &Context) -> Result<Exit> {
        let (removed, errors) = prune(context)?;
        tell(&removed, errors)
    }
}

/// Remove all networks that no container uses: their names, and what went wrong with
/// others. The process of an ordinary user enters the namespaces of the networks.
///
/// # Errors
/// `CAP_NET_ADMIN` is missing; those of flock(2), netlink(7) and readdir(3).
pub fn prune(context: &Context) -> Result<(Vec<Name>, Vec<Error>)> {
    let (here, _shared) = shared::enter_if_there(&context.state)?;
    if here {
        may_change_devices("network prune")?;
    }
    let networks = Networks::lock(&context.state)?;
    let (removed, mut errors) = networks.prune(&Route::open()?, context.undo)?;
    errors.extend(forwarding::restore(&context.state).err());
    Ok((removed, errors))
}
