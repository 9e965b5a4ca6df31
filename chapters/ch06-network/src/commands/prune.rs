//! `network prune`: remove all networks that no container uses.

use anyhow::{Error, Result};
use ch02_net::Route;
use clap::Args;
use common::Exit;
use common::cli::{Context, Execute};
use common::state::Name;

use super::{may_change_devices, tell};
use crate::{Networks, forwarding, shared};

/// Remove all networks that no container uses
///
/// Prints their names.
#[derive(Args, Debug)]
pub(crate) struct Prune {}

impl Execute for Prune {
    fn execute(self, context: &Context) -> Result<Exit> {
        let (removed, errors) = prune(context)?;
        tell(&removed, errors)
    }
}

/// Remove all networks that no container uses. Returns their names, and an error for
/// each network that could not be removed. The process of an ordinary user enters
/// the namespaces of the networks.
///
/// # Errors
/// The process lacks `CAP_NET_ADMIN`; an errno of flock(2), netlink(7) or
/// readdir(3).
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
