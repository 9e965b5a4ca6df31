//! The disconnections of a network: containers that lost their address while they ran.
//!
//! ```text
//! networks/NAME/disconnections   one byte for each disconnection
//! ```
//!
//! A container that starts reads the addresses of its network under the lock, releases the
//! lock, and takes it again later. If the size of this file is still the same then, no
//! running container has lost its address, and the addresses need not be read again.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::Home;
use common::hints;
use common::state::{Name, State};
use common::step::{Hint, Step};

use crate::network::{Network, directory};
use crate::{Claim, Member, Networks, release};

fn path(state: &State, name: &Name) -> PathBuf {
    directory(state, name).join("disconnections")
}

/// The number of disconnections so far. Only a later value under the lock means anything.
///
/// # Errors
/// Those of stat(2).
pub(crate) fn number(state: &State, name: &Name) -> Result<u64> {
    let path = path(state, name);
    match fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
        found => Ok(found.look(|| format!("stat(2) {}", path.display()))?.len()),
    }
}

impl Networks<'_> {
    /// Release the address of a container that goes on without the network.
    ///
    /// # Errors
    /// Those of write(2), readlink(2) and unlink(2).
    pub fn disconnect(
        &self,
        home: &Home,
        network: &Name,
        address: Ipv4Addr,
    ) -> Result<()> {
        // First, or a kill in between hides the disconnection.
        let path = path(self.state, network);
        add(&path)
            .look(|| format!("write(2) {}", path.display()))
            .hint(hints::state)?;
        release(home, network, address)
    }

    /// The other containers of a claim, without those that were disconnected since.
    ///
    /// # Errors
    /// Those of stat(2), readdir(3) and readlink(2).
    pub fn still_connected<'a>(
        &self,
        network: &Network,
        claim: &'a Claim,
    ) -> Result<Vec<&'a Member>> {
        let others = claim.others.iter();
        if number(self.state, &network.name)? == claim.disconnections {
            return Ok(others.collect());
        }
        let members = network.members(self.state)?;
        Ok(others.filter(|it| members.contains(it)).collect())
    }
}

fn add(path: &Path) -> std::io::Result<()> {
    File::options().create(true).append(true).open(path)?.write_all(b".")
}
