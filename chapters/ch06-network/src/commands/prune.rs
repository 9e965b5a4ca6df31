//! `network prune`: all networks that no container uses.

use anyhow::Result;
use ch02_net::Route;
use clap::Args;
use common::Exit;
use common::cli::{Act, Context};

use super::{needs_root, tell};
use crate::Networks;

/// Remove all networks that no container uses
///
/// Prints their names.
#[derive(Args, Debug)]
pub(crate) struct Prune {}

impl Act for Prune {
    fn act(self, context: &Context) -> Result<Exit> {
        needs_root("network prune")?;
        let networks = Networks::lock(&context.state)?;
        let (removed, errors) = networks.prune(&Route::open()?, context.undo)?;
        tell(&removed, errors)
    }
}
