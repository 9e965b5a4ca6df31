use std::collections::BTreeSet;
use std::env;
use std::process::{Child, Command, Stdio};

use common::state::{Lock, Undo};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::ROWS;
use crate::driver::Driver;

const UNDO: Table = &[ROWS];

struct Place {
    _dir: TempDir,
    state: State,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        Place { _dir: dir, state }
    }

    fn network(&self, subnet: &str) -> Network {
        let subnet: Subnet = subnet.parse().unwrap();
        let network = Network {
            name: "web".parse().unwrap(),
            id: Id::new().unwrap(),
            driver: Driver::Bridge,
            bridge: "web".to_owned(),
            subnet,
            gateway: subnet.hosts().next().unwrap(),
            created: 1,
        };
        network.write(&self.state).unwrap();
        network
    }

    /// A container whose supervisor is alive while the lock is held.
    fn container(&self, name: Option<&str>) -> (Home, Lock) {
        let name = name.map(|name| name.parse().unwrap());
        let home = Home { id: Id::new().unwrap(), name, state: self.state.clone() };
        let lock = home.lock().unwrap();
        (home, lock)
    }

    fn claim(
        &self,
        network: &Network,
        home: &Home,
        wanted: Option<&str>,
    ) -> Result<String> {
        let wanted = wanted.map(|wanted| wanted.parse().unwrap());
        let networks = Networks::lock(&self.state).unwrap();
        let claimed = networks.claim(network, home, wanted, UNDO);
        claimed.map(|claim| claim.me.address.to_string())
    }
}

#[test]
fn an_address_is_noted_claimed_and_released() {
    let place = Place::new();
    let network = place.network("192.168.10.0/24");
    let (one, _one) = place.container(Some("one"));
    let (two, _two) = place.container(None);
    assert_eq!(place.claim(&network, &one, None).unwrap(), "192.168.10.2");
    assert_eq!(place.claim(&network, &two, None).unwrap(), "192.168.10.3");
    assert_eq!(one.noted(ADDRESS).unwrap(), ["web 192.168.10.2"]);
    let members = network.members(&place.state).unwrap();
    let seen: Vec<_> = members
        .iter()
        .map(|it| (it.address.to_string(), it.display_name()))
        .collect();
    let expected =
        [("192.168.10.2".into(), "one"), ("192.168.10.3".into(), two.id.as_str())];
    assert_eq!(seen, expected);
    release_addresses(&one).unwrap();
    release_addresses(&one).unwrap();
    assert_eq!(network.members(&place.state).unwrap(), members[1..]);
    // The address that was just released is not assigned next.
    assert_eq!(place.claim(&network, &one, None).unwrap(), "192.168.10.4");
}

#[test]
fn a_container_disconnected_since_the_claim_is_left_out() {
    let place = Place::new();
    let network = place.network("192.168.10.0/24");
    let (stays, _stays) = place.container(Some("stays"));
    let (leaves, _leaves) = place.container(Some("leaves"));
    let (last, _last) = place.container(Some("last"));
    place.claim(&network, &stays, None).unwrap();
    place.claim(&network, &leaves, None).unwrap();
    let networks = Networks::lock(&place.state).unwrap();
    let claim = networks.claim(&network, &last, None, UNDO).unwrap();
    let names = || -> Vec<String> {
        let others =
            networks.still_connected(&network, &claim, &claim.others).unwrap();
        others.iter().map(|it| it.display_name().to_owned()).collect()
    };
    assert_eq!(names(), ["stays", "leaves"]);
    let address = "192.168.10.3".parse().unwrap();
    networks.disconnect(&leaves, &network.name, address).unwrap();
    assert_eq!(names(), ["stays"]);
}

#[test]
fn a_line_of_a_replaced_symlink_does_not_count() {
    let place = Place::new();
    let network = place.network("192.168.10.0/24");
    let (one, _one) = place.container(Some("one"));
    let (two, _two) = place.container(Some("two"));
    let called = || -> Vec<String> {
        let members = network.members(&place.state).unwrap();
        members.iter().map(|it| it.display_name().to_owned()).collect()
    };
    let directory = place.state.networks().join("web");
    place.claim(&network, &one, None).unwrap();
    place.claim(&network, &two, None).unwrap();
    assert_eq!(called(), ["one", "two"]);
    // As a process that was killed before it wrote its line.
    let (link, new) =
        (directory.join("addresses/192.168.10.2"), directory.join("new"));
    symlink("cccc00000000 three", &new).unwrap();
    fs::rename(&new, &link).unwrap();
    assert_eq!(called(), ["three", "two"]);
    fs::remove_file(directory.join("claims")).unwrap();
    assert_eq!(called(), ["three", "two"]);
}

#[test]
fn the_search_begins_again_at_the_lowest_address() {
    let place = Place::new();
    let network = place.network("192.168.10.0/29");
    let (home, _lock) = place.container(None);
    for round in 0..3 {
        for last in 2..=6 {
            let address = place.claim(&network, &home, None).unwrap();
            assert_eq!(address, format!("192.168.10.{last}"), "{round}");
            release(&home, &network.name, address.parse().unwrap()).unwrap();
        }
    }
    let claims = place.state.networks().join("web/claims");
    for damaged in
        ["", "10.0.0.1 1 x\n", "x\n", "192.168.10.7 1 x\n", "192.168.10.3 1"]
    {
        fs::write(&claims, damaged).unwrap();
        assert_eq!(place.claim(&network, &home, None).unwrap(), "192.168.10.2");
        release_addresses(&home).unwrap();
    }
}

#[test]
fn a_full_network_is_reported_and_never_assigns_a_special_address() {
    for (subnet, count) in [
        ("10.0.0.0/29", 5),
        ("10.0.0.0/30", 1),
        ("10.0.0.0/31", 1),
        ("10.0.0.0/25", 125),
    ] {
        let place = Place::new();
        let mut network = place.network(subnet);
        // A gateway in the middle of the subnet, or the only other address.
        network.gateway = network.subnet.hosts().nth(count / 2).unwrap();
        network.write(&place.state).unwrap();
        let (home, _lock) = place.container(Some("one"));
        let mut given = BTreeSet::new();
        for _ in 0..count {
            let address = place.claim(&network, &home, None).unwrap();
            let address: Ipv4Addr = address.parse().unwrap();
            assert!(network.subnet.has_host(address), "{subnet}: {address}");
            assert_ne!(address, network.gateway);
            assert!(given.insert(address));
        }
        let error = place.claim(&network, &home, None).unwrap_err().to_string();
        let expected =
            format!("network web is full: no address of {subnet} is free: ");
        assert!(error.starts_with(&expected), "{error}");
        let freed = *given.first().unwrap();
        release(&home, &network.name, freed).unwrap();
        assert_eq!(
            place.claim(&network, &home, None).unwrap(),
            freed.to_string(),
            "the only one that is free"
        );
    }
}

#[test]
fn a_requested_address_is_assigned_or_the_error_says_why_not() {
    let place = Place::new();
    let network = place.network("192.168.10.0/24");
    let (one, _one) = place.container(Some("one"));
    let (two, _two) = place.container(None);
    let address = "192.168.10.77";
    assert_eq!(place.claim(&network, &one, Some(address)).unwrap(), address);
    for (wanted, reason) in [
        (address, "already in use by container one: choose another --ip"),
        ("192.168.11.2", "--ip 192.168.11.2 is not in the subnet 192.168.10.0/24"),
        ("192.168.10.0", "is the network address"),
        ("192.168.10.255", "is the broadcast address"),
        ("192.168.10.1", "is the address of the gateway of network web"),
    ] {
        let error =
            place.claim(&network, &two, Some(wanted)).unwrap_err().to_string();
        assert!(error.contains(reason), "{wanted}: {error}");
    }
    assert!(two.noted(ADDRESS).unwrap().is_empty(), "nothing was claimed");
}

#[test]
fn the_address_of_a_dead_container_is_reused_only_if_needed() {
    let place = Place::new();
    let network = place.network("192.168.10.0/30");
    let (dead, lock) = place.container(Some("dead"));
    place.claim(&network, &dead, None).unwrap();
    let (one, _one) = place.container(Some("one"));
    let error = place.claim(&network, &one, None).unwrap_err().to_string();
    assert!(error.contains("is full"), "it lives: {error}");
    drop(lock);
    assert_eq!(place.claim(&network, &one, None).unwrap(), "192.168.10.2");
    assert!(!place.state.running().join(dead.id.as_str()).exists(), "it is swept");
    // The notes are outdated: the address belongs to another container now.
    let (again, lock) = place.container(Some("again"));
    again.note(ADDRESS, b"web 192.168.10.2").unwrap();
    release_addresses(&again).unwrap();
    drop(lock);
    let networks = Networks::lock(&place.state).unwrap();
    networks.sweep_members(&network.name, UNDO).unwrap();
    assert_eq!(network.members(&place.state).unwrap()[0].id, one.id);
}

#[test]
fn a_container_with_an_unknown_note_keeps_its_address() {
    let place = Place::new();
    let network = place.network("192.168.10.0/30");
    let (later, lock) = place.container(None);
    later.note("later", b"x").unwrap();
    place.claim(&network, &later, None).unwrap();
    drop(lock);
    let (one, _one) = place.container(None);
    let error = place.claim(&network, &one, Some("192.168.10.2")).unwrap_err();
    assert!(error.to_string().contains(later.id.as_str()), "{error}");
    const LATER: Table = &[ROWS, &[Undo { kind: "later", undo: |_| Ok(()) }]];
    let networks = Networks::lock(&place.state).unwrap();
    networks.claim(&network, &one, None, LATER).unwrap();
}

#[test]
fn addresses_without_a_container_are_removed_and_others_ignored() {
    let place = Place::new();
    let network = place.network("192.168.10.0/30");
    let directory = network.addresses(&place.state);
    fs::create_dir(&directory).unwrap();
    let link = directory.join("192.168.10.2");
    let (one, _one) = place.container(None);
    for owner in ["0123456789ab", "0123456789ab web", "", "../../x", "nonsense"] {
        if symlink(owner, &link).is_err() {
            fs::write(&link, owner).unwrap();
        }
        assert_eq!(place.claim(&network, &one, None).unwrap(), "192.168.10.2");
        release_addresses(&one).unwrap();
    }
    fs::write(directory.join("readme"), "").unwrap();
    assert!(network.members(&place.state).unwrap().is_empty());
    for note in ["../x 192.168.10.2", "web ../record", "web", ""] {
        one.note(ADDRESS, note.as_bytes()).unwrap();
    }
    release_addresses(&one).unwrap();
    Network::find(&place.state, &network.name).unwrap();
}

#[test]
fn a_removed_or_replaced_network_assigns_no_address() {
    let place = Place::new();
    let old = place.network("192.168.10.0/24");
    let (one, _one) = place.container(None);
    place.network("192.168.11.0/24");
    let error = place.claim(&old, &one, None).unwrap_err().to_string();
    assert!(error.contains("was just replaced"), "{error}");
    crate::network::forget(&place.state, &old.name).unwrap();
    let error = place.claim(&old, &one, None).unwrap_err().to_string();
    assert!(error.starts_with("network web not found"), "{error}");
    assert!(!place.state.networks().join("web").exists());
}

const PROCESSES: usize = 8;
const EACH: usize = 25;

#[test]
fn processes_that_claim_at_the_same_time_get_different_addresses() {
    let place = Place::new();
    let network = place.network("192.168.8.0/24");
    let start = |_| -> Child {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "addresses::tests::claims"])
            .env("CLAIM_IN", place.state.root())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<Child> = (0..PROCESSES).map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let members = network.members(&place.state).unwrap();
    assert_eq!(members.len(), PROCESSES * EACH, "each claim has an address");
}

/// One of the processes above.
#[test]
fn claims() {
    let Some(root) = env::var_os("CLAIM_IN") else { return };
    let state = State::at(root);
    let network = Network::find(&state, &"web".parse().unwrap()).unwrap();
    for _ in 0..EACH {
        let home = Home { id: Id::new().unwrap(), name: None, state: state.clone() };
        let _lock = home.lock().unwrap();
        let networks = Networks::lock(&state).unwrap();
        networks.claim(&network, &home, None, &[]).unwrap();
    }
}

proptest! {
    /// Compare with a model: the first free host after the last one, with
    /// wrap-around.
    #[test]
    fn the_next_address_is_the_next_free_one_with_wrap_around(
        prefix in 24_u8..=31,
        taken in proptest::collection::btree_set(0_u32..256, 0..256),
        last in proptest::option::of(0_u32..256),
    ) {
        let base = Ipv4Addr::new(10, 1, 2, 0).to_bits();
        let subnet = Subnet { address: Ipv4Addr::from(base), prefix };
        let last = last.map(|last| Ipv4Addr::from(base + last));
        let is_free =
            |it: Ipv4Addr| !taken.contains(&it.to_bits().wrapping_sub(base));
        let hosts: Vec<Ipv4Addr> = subnet.hosts().collect();
        let start = last
            .and_then(|last| hosts.iter().position(|host| *host == last))
            .map_or(0, |at| at + 1);
        let circle = hosts.iter().cycle().skip(start).take(hosts.len());
        let expected = circle.copied().find(|it| is_free(*it));
        let found = next(&subnet, last, is_free);
        prop_assert_eq!(found, expected);
        prop_assert!(found.is_none_or(|it| subnet.has_host(it)));
    }
}
