//! Make sure that the host's own firewall lets the packets of containers pass.
//!
//! ```text
//! networks/NAME/accepts   our rules are in foreign chains, for this bridge
//! ```
//!
//! The two rules in foreign chains are the only resource of a container that the
//! kernel does not remove by itself. They are noted before they are created, and
//! removed with the last container of the network.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use anyhow::Result;
use ch06_network::{Network, Networks};
use common::hints;
use common::state::State;
use common::step::{self, Hint, Step};

use crate::foreign::{self, Probe, probe};
use crate::nft::NftSocket;

/// The changes to the host's firewall that the user allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Firewall {
    /// Add two rules if they are needed.
    Open,
    /// Change nothing; print the commands.
    LeaveAlone,
}

impl Firewall {
    /// The value for the option `--no-firewall`.
    pub(crate) fn unless(no_firewall: bool) -> Firewall {
        if no_firewall { Firewall::LeaveAlone } else { Firewall::Open }
    }
}

fn note(state: &State, network: &Network) -> PathBuf {
    state.networks().join(network.name.as_str()).join("accepts")
}

// ANCHOR: open
/// Make sure that packets of a container pass. `namespace` is its network namespace.
/// If a foreign firewall drops them, two rules are added to it, or a warning shows
/// the commands that open it.
///
/// # Errors
/// EPERM if the caller lacks CAP_NET_ADMIN; the state directory cannot be written.
pub(crate) fn open(
    rules: &NftSocket,
    state: &State,
    network: &Network,
    namespace: BorrowedFd,
    address: Ipv4Addr,
    firewall: Firewall,
) -> Result<()> {
    let bridge = network.bridge.as_str();
    let tables = rules.tables()?;
    let mut commands = foreign::commands(&tables, bridge);
    let chains = foreign::forward_chains(rules, &tables)?;
    if commands.is_empty() && chains.is_empty() {
        return Ok(());
    }
    if probe(rules, namespace, address)? != Probe::Dropped {
        return Ok(());
    }
    if firewall == Firewall::Open && !chains.is_empty() {
        let note = note(state, network);
        fs::write(&note, "")
            .untraced(|| format!("write(2) {}", note.display()))
            .hint(hints::state)?;
        let changed = foreign::accept(rules, bridge)?;
        for chain in changed {
            step::warn(&format!(
                "the firewall of this host drops packets of containers: this program \
                 inserted two rules for the bridge {bridge} at the top of the chain {} \
                 {}. They are removed when the last container of the network ends",
                chain.table, chain.name
            ));
        }
        if probe(rules, namespace, address)? == Probe::Passed {
            return Ok(());
        }
    } else {
        commands.extend(foreign::nft_commands(&chains, bridge));
    }
    let list: String = commands.iter().map(|it| format!("\n  {it}")).collect();
    step::warn(&format!(
        "the firewall of this host drops packets of containers: the containers reach this \
         host and each other, but no other host. Run these commands as root to open the \
         firewall:{list}"
    ));
    Ok(())
}
// ANCHOR_END: open

/// Remove the rules in foreign chains if no container of the network is left. The
/// caller holds the lock.
///
/// # Errors
/// EPERM if the caller lacks CAP_NET_ADMIN; an errno of unlink(2).
pub(crate) fn close_if_unused(
    _: &Networks,
    state: &State,
    network: &Network,
) -> Result<()> {
    let note = note(state, network);
    let noted =
        note.try_exists().untraced(|| format!("stat(2) {}", note.display()))?;
    if !noted || !network.members(state)?.is_empty() {
        return Ok(());
    }
    foreign::remove(&NftSocket::open()?, &network.bridge)?;
    match fs::remove_file(&note) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.untraced(|| format!("unlink(2) {}", note.display())),
    }
}
