//! What is undone when a container's connection ends: the rows of the clean-up table.

use anyhow::Result;
use ch06_network::{Member, Network, Networks, noted_addresses};
use common::Home;
use common::state::{Name, Notes, Undo};
use common::step;
use nix::errno::Errno;

use crate::{conntrack, hosts, nft, passage};

/// The kind of the note: a container that is named in the files of others. Its value is
/// the network.
pub(crate) const CONNECTION: &str = "connection";

/// The rows of this chapter. They come after the row "address" of the last chapter.
pub const ROWS: &[Undo] = &[Undo { kind: CONNECTION, undo: sweep }];

/// The first network of a container: that of `run`, if the container has published ports.
pub(crate) fn first_network(notes: &Notes) -> Option<Name> {
    str::from_utf8(notes.of(CONNECTION).next()?).ok()?.parse().ok()
}

/// The row: as [`end`], for a container whose host side was killed. What the kernel
/// remembers of its connections is deleted too; the host side does so itself otherwise.
fn sweep(home: &Home) -> Result<()> {
    end(home)?;
    let notes = home.notes()?;
    let ports: Vec<_> = notes.ports().collect();
    for (_, address) in noted_addresses(&notes) {
        // An ordinary user's connections went with the network namespace.
        let _ = nft::Rules::open()
            .and_then(|rules| conntrack::forget(&rules, address, &ports));
    }
    Ok(())
}

/// Remove the container's line from the files of the others, and the rules that its
/// networks do not need any more. Its addresses are given back by now.
///
/// # Errors
/// A file that cannot be read or written; EPERM without CAP_NET_ADMIN.
pub(crate) fn end(home: &Home) -> Result<()> {
    let notes = home.notes()?;
    if notes.of(CONNECTION).next().is_none() {
        return Ok(());
    }
    let networks = Networks::lock(&home.state)?;
    for (name, address) in noted_addresses(&notes) {
        let network = match Network::read(&home.state, &name) {
            Ok(Some(network)) => network,
            // A network that was removed since has no members.
            Ok(None) => continue,
            // It can be read later, and this is tried again.
            Err(error) if error.root_cause().is::<Errno>() => return Err(error),
            Err(damaged) => {
                step::warn(&step::report(&damaged));
                continue;
            }
        };
        let (id, name) = (home.id.clone(), notes.name());
        let me = Member { address, id, name };
        let members = network.members(&home.state)?;
        hosts::withdraw(&networks, &home.state, &members, &me)?;
        passage::close_if_unused(&networks, &home.state, &network)?;
    }
    Ok(())
}
