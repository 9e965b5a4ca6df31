//! The addresses of a network, and their owners.
//!
//! ```text
//! networks/NAME/addresses/192.168.10.2   a symlink: ID, or ID and name, of the owner
//! ```
//!
//! There is one symlink for each address, instead of one file with all addresses. So
//! a kill cannot leave a half-written file, and two processes cannot overwrite each
//! other's change. The file `claims` only makes them faster to read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirEntryExt, symlink};
use std::path::Path;

use anyhow::{Result, bail, ensure};
use common::Home;
use common::hints;
use common::state::{Id, Name, Notes, State, Table, sweep_holder};
use common::step::{Hint, Step, join_errors};
use rustix::fs::readlinkat;
use rustix::io::Errno;

use crate::claims::{self, Claims};
use crate::disconnections;
use crate::network::{Network, addresses};
use crate::networks::Networks;
use crate::subnet::Subnet;

/// The kind of the notes that name an address: `NETWORK A.B.C.D`.
pub const ADDRESS: &str = "address";

/// A container that has an address of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its ID.
    pub id: Id,
    /// Its name, if it has one.
    pub name: Option<Name>,
}

impl Member {
    /// The name, or else the ID.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.name.as_ref().map_or(self.id.as_str(), Name::as_str)
    }

    /// `ID` or `ID NAME`: the target of a symlink.
    fn read(address: Ipv4Addr, target: &str) -> Option<Member> {
        let (id, name) = match target.split_once(' ') {
            Some((id, name)) => (id, Some(name.parse().ok()?)),
            None => (target, None),
        };
        Some(Member { address, id: id.parse().ok()?, name })
    }
}

/// An address that was given to a container.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The container, with its address.
    pub me: Member,
    /// The other containers of the network, by address.
    pub others: Vec<Member>,
    /// The number of containers that were disconnected from the network before this
    /// address was assigned.
    pub(crate) disconnections: u64,
}

impl Network {
    /// The containers that have an address, sorted by address.
    ///
    /// # Errors
    /// An errno of readdir(3) or readlink(2).
    pub fn members(&self, state: &State) -> Result<Vec<Member>> {
        members(state, &self.name)
    }

    /// Check that a container may request this address.
    ///
    /// # Errors
    /// The address is not in the subnet, or is the network address, the gateway's
    /// address or the broadcast address.
    pub fn check_wanted(&self, wanted: Ipv4Addr) -> Result<()> {
        self.subnet.check_host(wanted, "--ip")?;
        ensure!(
            wanted != self.gateway,
            "--ip {wanted} is the address of the gateway of network {}: choose \
             another one",
            self.name
        );
        Ok(())
    }
}

impl Networks<'_> {
    // ANCHOR: claim
    /// Assign an address to a container: `wanted`, or the next free address after
    /// the last assigned address. The note is written before the symlink. The result
    /// also contains the other containers of the network, because this function must
    /// read their symlinks anyway.
    ///
    /// If the address is in use, or no address is free, this first sweeps dead
    /// owners with the table. The lock is released during the sweep.
    ///
    /// # Errors
    /// The address is in use or not allowed for a container; the network is full; an
    /// errno of readdir(3), write(2) or symlink(2).
    pub fn claim(
        &self,
        network: &Network,
        home: &Home,
        wanted: Option<Ipv4Addr>,
        table: Table,
    ) -> Result<Claim> {
        if let Some(wanted) = wanted {
            network.check_wanted(wanted)?;
        }
        self.check_current(network)?;
        if let Some(claim) = self.try_claim(network, home, wanted)? {
            return Ok(claim);
        }
        self.sweep_members(&network.name, table)?;
        self.check_current(network)?;
        if let Some(claim) = self.try_claim(network, home, wanted)? {
            return Ok(claim);
        }
        let Network { name, subnet, .. } = network;
        match wanted {
            None => bail!(
                "network {name} is full: no address of {subnet} is free: end a \
                 container, or create a network with a larger --subnet"
            ),
            Some(wanted) => {
                let members = network.members(self.state)?;
                let owner = members.iter().find(|it| it.address == wanted);
                bail!(
                    "the address {wanted} is already in use by container {}: choose \
                     another --ip, or leave it out",
                    owner.map_or("?", Member::display_name)
                )
            }
        }
    }

    /// Check that the network was not removed or replaced since it was read.
    fn check_current(&self, network: &Network) -> Result<()> {
        let name = &network.name;
        let now = Network::find(self.state, name)?;
        ensure!(now.id == network.id, "network {name} was just replaced: try again");
        Ok(())
    }

    /// Make one attempt. Returns `None` if the address is in use, or no address is
    /// free.
    fn try_claim(
        &self,
        network: &Network,
        home: &Home,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Option<Claim>> {
        let directory = self.state.make(network.addresses(self.state))?;
        let disconnections = disconnections::number(self.state, &network.name)?;
        loop {
            let known = Claims::read(&directory);
            let owners = owners(&directory, &known)?;
            let address = match wanted {
                Some(wanted) => Some(wanted).filter(|it| !owners.contains_key(it)),
                None => {
                    let is_free =
                        |it| it != network.gateway && !owners.contains_key(&it);
                    next(&network.subnet, known.last(), is_free)
                }
            };
            let Some(address) = address else { return Ok(None) };
            let note = format!("{} {address}", network.name);
            home.note(ADDRESS, note.as_bytes())?;
            let link = directory.join(address.to_string());
            let owner = match &home.name {
                Some(name) => format!("{} {name}", home.id),
                None => home.id.to_string(),
            };
            match symlink(&owner, &link) {
                // A process that ignores the lock has created the symlink. Read the
                // owners again.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made
                    .step(|| format!("symlink(2) {}", link.display()))
                    .hint(hints::state)?,
            }
            // Ignore an error: without this line, a later process reads the symlink,
            // and the next search begins at another address.
            let _ = known.add(&link, address, &owner, &owners);
            let (id, name) = (home.id.clone(), home.name.clone());
            let others = owners.into_values().flatten();
            return Ok(Some(Claim {
                me: Member { address, id, name },
                others: others.filter(|it| it.id != home.id).collect(),
                disconnections,
            }));
        }
    }
    // ANCHOR_END: claim

    /// Sweep the dead containers among the owners of a network's addresses. The lock
    /// is released during the sweep.
    ///
    /// # Errors
    /// An errno of readdir(3), unlink(2) or flock(2).
    pub fn sweep_members(&self, name: &Name, table: Table) -> Result<()> {
        let directory = addresses(self.state, name);
        let ids: Vec<Id> =
            members(self.state, name)?.into_iter().map(|member| member.id).collect();
        if !ids.is_empty() {
            self.unlocked(|| {
                for id in ids {
                    let state = self.state.clone();
                    sweep_holder(Home { id, name: None, state }, table);
                }
            })?;
        }
        // A container has a lock file from before its first note until everything is
        // undone. So a symlink to a container without a lock file has no owner. A
        // file that is not a symlink has no owner either.
        for (address, owner) in owners(&directory, &Claims::read(&directory))? {
            let lock = owner.map(|it| self.state.running().join(it.id.as_str()));
            // If the lock file cannot be checked, the container may be alive.
            let is_alive = lock.map(|lock| {
                lock.try_exists().untraced(|| format!("stat(2) {}", lock.display()))
            });
            if !is_alive.transpose()?.unwrap_or(false) {
                let link = directory.join(address.to_string());
                claims::end(&link, address);
                ignore_missing(fs::remove_file(&link))
                    .step(|| format!("unlink(2) {}", link.display()))?;
            }
        }
        Ok(())
    }
}

// ANCHOR: next
/// The next free address after the last assigned address. After the highest address,
/// the search continues at the lowest address (next-fit). An address that was just
/// released is therefore assigned again as late as possible: the ARP caches of other
/// hosts may still contain its previous owner.
fn next(
    subnet: &Subnet,
    last: Option<Ipv4Addr>,
    is_free: impl Fn(Ipv4Addr) -> bool,
) -> Option<Ipv4Addr> {
    let range = subnet.range();
    let last = last.map(Ipv4Addr::to_bits).filter(|last| range.contains(last));
    let start = last.map_or(*range.start(), |last| last + 1);
    let after = start..=*range.end();
    let before = *range.start()..=start - 1;
    after.chain(before).map(Ipv4Addr::from_bits).find(|it| is_free(*it))
}
// ANCHOR_END: next

/// The addresses in use, with their owners. An address also counts as in use if its
/// entry names no owner.
fn owners(
    directory: &Path,
    claims: &Claims,
) -> Result<BTreeMap<Ipv4Addr, Option<Member>>> {
    let step = || format!("readdir(3) {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.untraced(step)?,
    };
    // The kernel looks up a name in an open directory faster than a whole path.
    let opened = File::open(directory).untraced(step)?;
    let latest = claims.latest();
    let mut owners = BTreeMap::new();
    for entry in entries {
        let entry = entry.untraced(step)?;
        let (inode, entry) = (entry.ino(), entry.file_name());
        let Some(address) = entry.to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        if let Some((claimed, owner)) = latest.get(&address)
            && *claimed == inode
            && let Some(member) = Member::read(address, owner)
        {
            owners.insert(address, Some(member));
            continue;
        }
        let owner = match readlinkat(&opened, &entry, Vec::new()) {
            // The address was released in the meantime.
            Err(Errno::NOENT) => continue,
            // It is not a symlink.
            Err(Errno::INVAL) => None,
            target => {
                let link = || directory.join(&entry);
                let target = target
                    .untraced(|| format!("readlink(2) {}", link().display()))?;
                target.to_str().ok().and_then(|it| Member::read(address, it))
            }
        };
        owners.insert(address, owner);
    }
    Ok(owners)
}

pub(crate) fn members(state: &State, name: &Name) -> Result<Vec<Member>> {
    let directory = addresses(state, name);
    let owners = owners(&directory, &Claims::read(&directory))?;
    Ok(owners.into_values().flatten().collect())
}

// ANCHOR: release
/// Release the addresses in the notes of a container that still belong to it.
/// This is the row "address" of the clean-up table.
///
/// # Errors
/// An errno of readlink(2) or unlink(2).
pub fn release_addresses(home: &Home) -> Result<()> {
    let notes = home.notes()?;
    join_errors(
        notes
            .of(ADDRESS)
            .filter_map(noted)
            .map(|(network, address)| release(home, &network, address)),
    )
}

/// Release one address of a container. If the address is free or belongs to another
/// container, this does nothing.
///
/// # Errors
/// An errno of readlink(2) or unlink(2).
pub fn release(home: &Home, network: &Name, address: Ipv4Addr) -> Result<()> {
    let link = addresses(&home.state, network).join(address.to_string());
    let target = match fs::read_link(&link) {
        Err(e) if no_link(&e) => return Ok(()),
        target => target.untraced(|| format!("readlink(2) {}", link.display()))?,
    };
    let owner = target.to_str().and_then(|it| Member::read(address, it));
    if owner.is_some_and(|owner| owner.id == home.id) {
        claims::end(&link, address);
        ignore_missing(fs::remove_file(&link))
            .step(|| format!("unlink(2) {}", link.display()))?;
    }
    Ok(())
}
// ANCHOR_END: release

/// The addresses that were assigned to a container, with their networks. Some may
/// have been released since.
pub fn noted_addresses(notes: &Notes) -> impl Iterator<Item = (Name, Ipv4Addr)> {
    notes.of(ADDRESS).filter_map(noted)
}

/// Parse `NETWORK A.B.C.D`. Both parts are checked, because they become a path.
fn noted(note: &[u8]) -> Option<(Name, Ipv4Addr)> {
    let (network, address) = str::from_utf8(note).ok()?.split_once(' ')?;
    Some((network.parse().ok()?, address.parse().ok()?))
}

fn no_link(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

fn ignore_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests;
