//! What is undone when a container's connection ends: the rows of the clean-up table.

use anyhow::Result;
use ch06_network::{Member, Network, Networks};
use common::Home;
use common::state::Undo;

use crate::hosts;

/// The kind of the note: a container that is named in the files of others. Its value is
/// the network.
pub(crate) const CONNECTION: &str = "connection";

/// The rows of this chapter.
pub const ROWS: &[Undo] = &[Undo { kind: CONNECTION, undo: withdraw }];

/// Remove the container's line from the files of the others.
///
/// # Errors
/// A file that cannot be read or written.
pub(crate) fn withdraw(home: &Home) -> Result<()> {
    let notes = home.notes()?;
    if notes.of(CONNECTION).next().is_none() {
        return Ok(());
    }
    let networks = Networks::lock(&home.state)?;
    for (name, address) in ch06_network::noted_addresses(&notes) {
        // A network that was removed by force has no members.
        let Ok(network) = Network::find(&home.state, &name) else { continue };
        let (id, name) = (home.id.clone(), notes.name());
        let me = Member { address, id, name };
        hosts::withdraw(&networks, &network, &home.state, &me)?;
    }
    Ok(())
}
