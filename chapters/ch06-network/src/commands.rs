//! The commands that create, show and remove networks, one file each.

mod create;
mod inspect;
mod list;
mod prune;
mod remove;

use anyhow::{Error, Result, bail};
use common::state::Name;
use common::{Exit, output};
use rustix::thread::{CapabilitySet, capabilities};

use create::Create;
use inspect::Inspect;
use list::List;
use prune::Prune;
pub use prune::prune;
use remove::Remove;

common::commands! {
    /// Create, show and remove networks
    #[derive(Debug)]
    pub enum NetworkCommands {
        /// Create a network
        ///
        /// Prints the name of the network. All options are checked before anything
        /// is created.
        Create(Create),
        /// List the networks
        #[command(visible_alias = "ls")]
        List(List),
        /// Show networks and their containers as JSON
        ///
        /// Prints one array with an object for each network: name, id, driver,
        /// subnet, gateway, bridge, created (seconds since 1970), containers.
        /// "containers" is an array of objects: id, name (or null), address.
        Inspect(Inspect),
        /// Remove networks
        ///
        /// Prints the names of the removed networks. A network that a running
        /// container uses is not removed.
        #[command(visible_alias = "rm")]
        Remove(Remove),
        /// Remove all networks that no container uses
        ///
        /// Prints the names of the removed networks.
        Prune(Prune),
    }
}

/// Check that this process may change the devices of its network namespace.
///
/// # Errors
/// The process lacks CAP_NET_ADMIN.
/// # Source
/// capabilities(7), `CAP_NET_ADMIN`
fn may_change_devices(operation: &str) -> Result<()> {
    let sets = capabilities(None);
    if sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN)) {
        return Ok(());
    }
    bail!(
        "{operation} needs CAP_NET_ADMIN, because a bridge is a device of the host: run it \
         as root (sudo), or as a user without any capability. `network list` and \
         `network inspect` do not need this capability"
    )
}

/// Print the names, then report the errors.
fn tell(names: &[Name], errors: Vec<Error>) -> Result<Exit> {
    output::report(&output::lines(names), errors)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: NetworkCommands,
    }

    #[test]
    fn short_names_select_the_same_commands() {
        let parse = |line: &[&str]| Cli::try_parse_from(line).unwrap().command;
        assert!(matches!(parse(&["x", "ls", "-q"]), NetworkCommands::List(_)));
        assert!(matches!(parse(&["x", "rm", "a", "b"]), NetworkCommands::Remove(_)));
    }
}
