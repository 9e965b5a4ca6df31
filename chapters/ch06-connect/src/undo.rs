//! Undo a container's connection: the rows of the clean-up table.

use anyhow::Result;
use ch06_network::{Member, Network, Networks, noted_addresses};
use common::Home;
use common::state::{Name, Notes, Undo};
use common::step;
use nix::errno::Errno;

use crate::{conntrack, host_firewall, hosts, nft};

/// The kind of the note for a connection: other containers have this container in
/// their files. The note's value is the network.
pub(crate) const CONNECTION: &str = "connection";

/// The rows of this chapter. They come after the row "address" of the last chapter.
pub const ROWS: &[Undo] = &[Undo { kind: CONNECTION, undo: sweep }];

/// The first network of a container. If the container has published ports, this is
/// the network of `run`.
pub(crate) fn first_network(notes: &Notes) -> Option<Name> {
    str::from_utf8(notes.of(CONNECTION).next()?).ok()?.parse().ok()
}

/// The function of the row. It does the same as [`end`] for a container whose
/// supervisor was killed. It also deletes tracked connections, which the supervisor
/// does otherwise.
fn sweep(home: &Home) -> Result<()> {
    end(home)?;
    let notes = home.notes()?;
    let ports: Vec<_> = notes.ports().collect();
    for (_, address) in noted_addresses(&notes) {
        // An error is ignored: the connections of an ordinary user ended with the
        // network namespace.
        let _ = nft::NftSocket::open()
            .and_then(|rules| conntrack::forget(&rules, address, &ports));
    }
    Ok(())
}

/// Remove the container's line from the files of the other containers, and the rules
/// that its networks no longer need. Its addresses must be released before.
///
/// # Errors
/// A file cannot be read or written; EPERM if the caller lacks CAP_NET_ADMIN.
pub(crate) fn end(home: &Home) -> Result<()> {
    let notes = home.notes()?;
    if notes.of(CONNECTION).next().is_none() {
        return Ok(());
    }
    let networks = Networks::lock(&home.state)?;
    for (name, address) in noted_addresses(&notes) {
        let network = match Network::read(&home.state, &name) {
            Ok(Some(network)) => network,
            // The network was removed in the meantime, so it has no members.
            Ok(None) => continue,
            // The record may be readable later, so this will be repeated.
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
        host_firewall::close_if_unused(&networks, &home.state, &network)?;
    }
    Ok(())
}
