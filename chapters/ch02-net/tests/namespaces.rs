//! Tests of the functions that the chapters about networks call. Each test runs in
//! its own network namespaces. A namespace belongs to a thread: the kernel removes
//! it and its devices when the thread ends.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use ch02_net::{OPERSTATE_UP, Route, RouteEntry, TABLE_MAIN, TargetNamespace};
use common::step::report;
use nix::sched::{CloneFlags, unshare};

const BRIDGE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 2);
const MAC: [u8; 6] = [2, 0x42, 192, 168, 10, 2];
const TIMEOUT: Duration = Duration::from_secs(10);

/// Run a test in a thread with a new network namespace, and pass it a second one.
fn between_namespaces(test: impl FnOnce(Route, File) + Send + 'static) {
    let in_new = || -> Result<File> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(File::open("/proc/thread-self/ns/net")?)
    };
    let guest = thread::spawn(in_new).join().unwrap().expect("unshare(2) as root");
    let test = move || {
        in_new().unwrap();
        test(Route::open().unwrap(), guest);
    };
    thread::spawn(test).join().unwrap();
}

/// The error text that the user reads.
fn told(result: Result<()>) -> String {
    report(&result.unwrap_err())
}

#[test]
fn a_bridge_is_created_with_its_alias_and_others_stay_unchanged() {
    between_namespaces(|host, _| {
        host.add_bridge("br0", "mydocker network 0123").unwrap();
        let bridge = host.link("br0").unwrap();
        assert_eq!(bridge.kind.as_deref(), Some("bridge"));
        assert_eq!(bridge.alias.as_deref(), Some("mydocker network 0123"));
        assert!(!bridge.up);

        host.add("bridge", "br1").unwrap();
        let error = told(host.add_bridge("br1", "ours"));
        assert!(
            error.contains("EEXIST") && error.contains("br1 already exists"),
            "{error}"
        );
        assert_eq!(host.link("br1").unwrap().alias, None);

        host.set_alias("br1", "theirs").unwrap();
        assert_eq!(host.link("br1").unwrap().alias.as_deref(), Some("theirs"));
        host.set_alias("br1", "").unwrap();
        assert_eq!(host.link("br1").unwrap().alias, None);
        assert!(told(host.set_alias("br1", &"x".repeat(256))).contains("255 bytes"));
    });
}

#[test]
fn open_in_opens_a_socket_there_and_the_thread_returns() {
    between_namespaces(|host, guest| {
        let here = || fs::read_link("/proc/thread-self/ns/net").unwrap();
        let before = here();
        let inside = Route::open_in(guest.as_fd()).unwrap();
        assert_eq!(here(), before);
        inside.add("bridge", "inside").unwrap();
        assert!(inside.link("inside").is_ok() && host.link("inside").is_err());

        let file = File::open("/proc/version").unwrap();
        let error = report(&Route::open_in(file.as_fd()).unwrap_err());
        assert!(
            error.contains("EINVAL") && error.contains("not a network"),
            "{error}"
        );
        assert_eq!(here(), before);
    });
}

#[test]
fn a_peer_is_created_in_the_other_namespace_and_the_port_comes_up() {
    between_namespaces(|host, guest| {
        let inside = Route::open_in(guest.as_fd()).unwrap();
        let place = TargetNamespace::Namespace(guest.as_fd());
        host.add_bridge("br0", "test").unwrap();
        host.set_up("br0").unwrap();
        host.add_veth_to("veth0", "eth0", MAC, place).unwrap();
        assert!(host.link("eth0").is_err());
        let (port, eth0) =
            (host.link("veth0").unwrap(), inside.link("eth0").unwrap());
        assert_eq!(eth0.mac, Some(MAC));
        assert_eq!((port.peer, eth0.peer), (Some(eth0.index), Some(port.index)));
        assert!(port.peer_elsewhere && !port.up && !eth0.up);

        let error = told(host.set_hairpin("veth0", true));
        assert!(error.contains("not a port of a bridge"), "{error}");
        host.set_master("veth0", "br0").unwrap();
        let bridge = host.link("br0").unwrap();
        assert_eq!(host.link("veth0").unwrap().master, Some(bridge.index));

        // One end alone does not come up, and the wait ends after `patience`.
        host.set_up("veth0").unwrap();
        let start = Instant::now();
        let patience = Duration::from_millis(50);
        assert!(!host.wait_until_up("veth0", patience).unwrap());
        assert!((patience..TIMEOUT).contains(&start.elapsed()));
        inside.set_up("eth0").unwrap();
        assert!(host.wait_until_up("veth0", TIMEOUT).unwrap());
        assert_eq!(host.link("veth0").unwrap().operstate, OPERSTATE_UP);

        // The name is already in use, here or there.
        for (name, peer) in [("veth0", "eth1"), ("veth1", "eth0")] {
            let error = told(host.add_veth_to(name, peer, MAC, place));
            assert!(error.contains("EEXIST"), "{error}");
        }
        let error = told(host.add_veth_to(
            "veth1",
            "eth1",
            MAC,
            TargetNamespace::Process(0),
        ));
        assert!(error.contains("ESRCH") && host.link("veth1").is_err(), "{error}");

        host.delete("veth0").unwrap();
        assert!(inside.link("eth0").is_err());
    });
}

#[test]
fn set_hairpin_changes_the_mode_of_a_port() {
    between_namespaces(|host, guest| {
        host.add_bridge("br0", "test").unwrap();
        host.add_veth_to(
            "veth0",
            "eth0",
            MAC,
            TargetNamespace::Namespace(guest.as_fd()),
        )
        .unwrap();
        host.set_master("veth0", "br0").unwrap();
        // Use netlink directly: sysfs would have to be mounted for this namespace.
        for hairpin in [true, false] {
            host.set_hairpin("veth0", hairpin).unwrap();
            assert_eq!(raw::hairpin("veth0", &host), hairpin);
        }
    });
}

#[test]
fn add_port_creates_a_port_of_the_bridge_without_ipv6_addresses() {
    between_namespaces(|host, guest| {
        let inside = Route::open_in(guest.as_fd()).unwrap();
        let place = TargetNamespace::Namespace(guest.as_fd());
        host.add_bridge("br0", "test").unwrap();
        host.set_mtu("br0", 1400).unwrap();
        host.set_up("br0").unwrap();
        host.add_port("br0", "veth0", "eth0", MAC, place).unwrap();
        let (port, eth0) =
            (host.link("veth0").unwrap(), inside.link("eth0").unwrap());
        assert_eq!(port.master, Some(host.link("br0").unwrap().index));
        assert!(port.up && !eth0.up && raw::hairpin("veth0", &host));
        assert_eq!(eth0.mac, Some(MAC));
        assert_eq!((port.mtu, eth0.mtu), (1400, 1400));
        inside.set_without_ipv6("eth0").unwrap();
        inside.set_up("eth0").unwrap();
        assert!(host.wait_until_up("veth0", TIMEOUT).unwrap());
        let of = |route: &Route, index| {
            let addresses = route.addresses().unwrap();
            addresses.iter().filter(|it| it.index == index).count()
        };
        assert_eq!((of(&host, port.index), of(&inside, eth0.index)), (0, 0));
        for (name, peer) in [("veth0", "eth1"), ("veth1", "eth0")] {
            let error = told(host.add_port("br0", name, peer, MAC, place));
            assert!(error.contains("EEXIST"), "{error}");
        }
        let error = told(host.add_port("none", "veth1", "eth1", MAC, place));
        assert!(error.contains("ENODEV") && host.link("veth1").is_err(), "{error}");
    });
}

/// The settings of a port as the bridge reports them.
mod raw {
    use ch02_net::Route;
    use ch02_net::netlink::{Message, NLM_F_DUMP, Socket, attributes, number};

    pub(crate) fn hairpin(name: &str, route: &Route) -> bool {
        const RTM_GETLINK: u16 = 18;
        const IFLA_PROTINFO: u16 = 12;
        const IFLA_BRPORT_MODE: u16 = 4;
        let index = route.link(name).unwrap().index;
        let mut start = [0; 16];
        start[0] = 7;
        let request = Message::new(RTM_GETLINK, NLM_F_DUMP).plain(&start);
        let ports = Socket::open(None).unwrap().ask(request).unwrap();
        let port = ports.iter().find(|port| number(port, 4) == index).unwrap();
        let find = |bytes, wanted| {
            let mut all = attributes(bytes).into_iter();
            all.find(|(kind, _)| *kind == wanted).unwrap().1
        };
        find(find(&port[16..], IFLA_PROTINFO), IFLA_BRPORT_MODE) == [1]
    }
}

#[test]
fn addresses_and_routes_are_added_listed_and_removed() {
    between_namespaces(|host, guest| {
        let inside = Route::open_in(guest.as_fd()).unwrap();
        host.add_veth_to(
            "veth0",
            "eth0",
            MAC,
            TargetNamespace::Namespace(guest.as_fd()),
        )
        .unwrap();
        host.set_up("veth0").unwrap();
        inside.add_address("eth0", GUEST, 24).unwrap();
        inside.set_up("eth0").unwrap();
        inside.add_route(Ipv4Addr::UNSPECIFIED, 0, Some(BRIDGE), None).unwrap();
        let device = Some(inside.link("eth0").unwrap().index);
        let default = RouteEntry {
            destination: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            gateway: Some(BRIDGE),
            device,
            kind: RouteEntry::UNICAST,
            table: TABLE_MAIN,
            metric: 0,
        };
        let network = Ipv4Addr::new(192, 168, 10, 0);
        let own = RouteEntry {
            destination: network,
            prefix: 24,
            gateway: None,
            ..default
        };
        let of_main = || {
            let routes = inside.routes().unwrap().into_iter();
            routes.filter(|route| route.table == TABLE_MAIN).collect::<Vec<_>>()
        };
        assert_eq!(of_main(), [default, own]);
        // The local table is listed too.
        let local = inside.routes().unwrap().into_iter();
        let mut local = local.filter(|route| route.kind == RouteEntry::LOCAL);
        assert!(local.any(|route| route.destination == GUEST && route.prefix == 32));

        let (any, prefix) = (Ipv4Addr::UNSPECIFIED, 0);
        let other = Some(Ipv4Addr::new(192, 168, 10, 9));
        assert!(
            told(inside.remove_route(any, prefix, other, None)).contains("ESRCH")
        );
        inside.remove_route(any, prefix, Some(BRIDGE), Some("eth0")).unwrap();
        assert_eq!(of_main(), [own]);
        let error = told(inside.add_route(GUEST, 24, None, Some("eth0")));
        assert!(
            error.contains("EINVAL") && error.contains("192.168.10.0/24"),
            "{error}"
        );

        inside.remove_address("eth0", GUEST, 24).unwrap();
        assert_eq!(of_main(), []);
        let error = told(inside.remove_address("eth0", GUEST, 24));
        assert!(error.contains("EADDRNOTAVAIL"), "{error}");
    });
}

#[test]
fn a_device_gets_another_name_and_another_hardware_address() {
    between_namespaces(|host, _| {
        host.add_veth("a", "b").unwrap();
        host.rename("a", "eth7").unwrap();
        assert!(host.link("a").is_err());
        assert!(told(host.rename("eth7", "b")).contains("b already exists"));
        host.set_mac("eth7", MAC).unwrap();
        assert_eq!(host.link("eth7").unwrap().mac, Some(MAC));
        let error = told(host.set_mac("eth7", [1, 0, 0, 0, 0, 1]));
        assert!(error.contains("must be even"), "{error}");
    });
}
