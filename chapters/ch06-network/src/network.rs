//! A network, as it was created: the record `networks/NAME/record`.
//!
//! After a reboot, only the record is left of a network. The next use of the network
//! creates the bridge again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use common::state::fields::Fields;
use common::state::{Id, Name, State, remove_tree};
use common::step::{Hint, Step};
use common::{hints, read_whole};

use crate::driver::Driver;
use crate::subnet::Subnet;

/// The file names in the directory of a network.
const RECORD: &str = "record";
const NEW: &str = "record.new";

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name, which also names its directory.
    pub name: Name,
    /// Its ID: the alias of the bridge contains it.
    pub id: Id,
    /// The kind of device that connects the containers.
    pub driver: Driver,
    /// The name of the bridge on the host.
    pub bridge: String,
    /// The addresses of the network.
    pub subnet: Subnet,
    /// The address of the bridge: the containers' next hop to every other network.
    pub gateway: Ipv4Addr,
    /// The time of its creation, in seconds since 1970.
    pub created: u64,
}

impl Network {
    /// Find the network with this name.
    ///
    /// # Errors
    /// The network does not exist; its record cannot be read or is damaged.
    pub fn find(state: &State, name: &Name) -> Result<Network> {
        Network::read(state, name)?.with_context(|| {
            format!(
                "network {name} not found: `network list` shows the networks that \
                 exist, `network create {name}` makes it"
            )
        })
    }

    /// All networks, sorted by name. If a record cannot be read, the error takes its
    /// place.
    ///
    /// # Errors
    /// An errno of readdir(3).
    pub fn all(state: &State) -> Result<Vec<Result<Network>>> {
        let names = state.network_names()?.into_iter();
        let found = names.map(|name| Network::read(state, &name));
        Ok(found.filter_map(Result::transpose).collect())
    }

    /// Read a network. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// The record cannot be read, or is damaged.
    pub fn read(state: &State, name: &Name) -> Result<Option<Network>> {
        let path = directory(state, name).join(RECORD);
        let text = match read_whole::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.untraced(|| format!("read(2) {}", path.display())),
        };
        let network = text.and_then(|text| Network::from(name, &text));
        network.map(Some).with_context(|| {
            format!(
                "the record of network {name} is damaged ({}): `network remove {name}` \
                 removes the network",
                path.display()
            )
        })
    }

    fn from(name: &Name, text: &[u8]) -> Result<Network> {
        let fields = Fields::read(text)?;
        let subnet: Subnet = fields.word("subnet")?.parse()?;
        let gateway = fields.word("gateway")?;
        let gateway = gateway.parse().ok().filter(|it| subnet.has_host(*it));
        Ok(Network {
            name: name.clone(),
            id: fields.word("id")?.parse()?,
            driver: fields.word("driver")?.parse()?,
            bridge: fields.word("bridge")?,
            subnet,
            gateway: gateway.context("the gateway is not in the subnet")?,
            created: fields.number("created")?,
        })
    }

    fn text(&self) -> Vec<u8> {
        Fields::default()
            .with("id", self.id.as_str())
            .with("driver", self.driver.to_string())
            .with("bridge", &self.bridge)
            .with("subnet", self.subnet.to_string())
            .with("gateway", self.gateway.to_string())
            .with("created", self.created.to_string())
            .text()
    }

    // ANCHOR: write
    /// Write the record. After a power failure, the record is complete or does not
    /// exist: the content reaches the disk before the name, and the name before this
    /// function returns. The caller holds the lock.
    ///
    /// # Errors
    /// An errno of mkdir(2), write(2), fsync(2) or rename(2).
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let directory = state.make(directory(state, &self.name))?;
        let (path, new) = (directory.join(RECORD), directory.join(NEW));
        let step = || format!("write {}", path.display());
        let mut file = File::create(&new).step(step).hint(hints::state)?;
        file.write_all(&self.text()).step(step).hint(hints::state)?;
        file.sync_all().step(step).hint(hints::state)?;
        fs::rename(&new, &path).step(step)?;
        sync(&directory)?;
        sync(&state.networks())
    }
    // ANCHOR_END: write

    /// The directory with one symlink for each address in use.
    pub(crate) fn addresses(&self, state: &State) -> PathBuf {
        addresses(state, &self.name)
    }
}

/// Remove the record and the directory of a network. The caller holds the lock and
/// has checked that no container uses the network.
///
/// # Errors
/// An errno of unlink(2), rmdir(2) or fsync(2).
pub(crate) fn forget(state: &State, name: &Name) -> Result<()> {
    let directory = directory(state, name);
    // Remove the record first. If the removal is interrupted, the network no longer
    // exists. `prune` removes the rest of the directory, or the next network with
    // this name uses it.
    remove_tree(&directory.join(RECORD))?;
    remove_tree(&directory)?;
    sync(&state.networks())
}

/// The ID in a damaged record, if it is readable.
pub(crate) fn salvaged_id(state: &State, name: &Name) -> Option<Id> {
    let text = read_whole::read(directory(state, name).join(RECORD)).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| line.strip_prefix("id ")?.parse().ok())
}

pub(crate) fn directory(state: &State, name: &Name) -> PathBuf {
    state.networks().join(name.as_str())
}

pub(crate) fn addresses(state: &State, name: &Name) -> PathBuf {
    directory(state, name).join("addresses")
}

/// Refuse a reserved name.
///
/// # Errors
/// The name is reserved.
pub(crate) fn check_name(name: &Name) -> Result<()> {
    if ["none", "host"].contains(&name.as_str()) {
        bail!("the name {name} is reserved for `-net {name}`: choose another name");
    }
    Ok(())
}

fn sync(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .untraced(|| format!("fsync(2) {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str) -> Network {
        Network {
            name: name.parse().unwrap(),
            id: "0123456789ab".parse().unwrap(),
            driver: Driver::Bridge,
            bridge: name.to_owned(),
            subnet: "192.168.10.0/24".parse().unwrap(),
            gateway: "192.168.10.1".parse().unwrap(),
            created: 1,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        assert!(Network::all(&state).unwrap().is_empty());
        let (b, a) = (network("b"), network("a"));
        b.write(&state).unwrap();
        a.write(&state).unwrap();
        assert_eq!(Network::find(&state, &a.name).unwrap(), a);
        let all = Network::all(&state).unwrap();
        let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
        assert_eq!(all, [a.clone(), b]);
        forget(&state, &a.name).unwrap();
        forget(&state, &a.name).unwrap();
        let error = Network::find(&state, &a.name).unwrap_err().to_string();
        assert!(error.starts_with("network a not found: `network list`"), "{error}");
    }

    #[test]
    fn a_damaged_record_hides_only_itself_and_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let (a, b) = (network("a"), network("b"));
        a.write(&state).unwrap();
        b.write(&state).unwrap();
        let record = directory(&state, &a.name).join(RECORD);
        let whole = fs::read_to_string(&record).unwrap();
        for (was, is, reason) in [
            ("end\n", "", "its last line is not `end`"),
            ("10.0/24", "10.5/24", "has bits after the first 24"),
            ("gateway 192.168.10.1", "gateway 192.168.10.0", "not in the subnet"),
            ("driver bridge", "driver overlay", "unknown driver"),
            ("format 1", "format 2", "newer version"),
        ] {
            fs::write(&record, whole.replace(was, is)).unwrap();
            let all = Network::all(&state).unwrap();
            let error = format!("{:#}", all[0].as_ref().unwrap_err());
            assert!(error.starts_with("the record of network a is damaged"));
            assert!(error.contains(reason), "{error}");
            assert_eq!(all[1].as_ref().unwrap(), &b);
            assert_eq!(salvaged_id(&state, &a.name), Some(a.id.clone()));
        }
        fs::remove_file(&record).unwrap();
        fs::create_dir(&record).unwrap();
        let error = Network::find(&state, &a.name).unwrap_err();
        assert!(format!("{error:#}").contains("EISDIR"), "{error:#}");
        forget(&state, &a.name).unwrap();
        assert_eq!(state.network_names().unwrap(), [b.name]);
    }
}
