//! ch02-net: addresses, routes and bridges by hand, in namespaces that the test creates.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::path::Path;

use blackbox::{Lab, bin_dir, until};
use insta::assert_snapshot;
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

use crate::ch02_net::{Inhabitant, chapter, row, text};

/// Move an end of a veth pair from one namespace to another, give it an address, and set
/// it up.
fn plug(lab: &Lab, from: &Inhabitant, device: &str, to: &Inhabitant, address: &str) {
    from.call(lab, &["move", device, &to.pid]);
    set(lab, to, device, address);
}

/// Give a device an address, and set it up.
fn set(lab: &Lab, of: &Inhabitant, device: &str, address: &str) {
    of.call(lab, &["address", "add", address, "dev", device]);
    of.call(lab, &["up", device]);
}

/// Whether ping(8) got an answer, and its output.
fn ping(lab: &Lab, from: &Inhabitant, address: &str) -> (bool, String) {
    let mut ping = from.enter(lab, &lab.image().join("bin/busybox"));
    let output =
        ping.args(["ping", "-c", "1", "-W", "2", address]).output().unwrap();
    let said = text(&[output.stdout, output.stderr].concat());
    (output.status.success(), said)
}

#[test]
#[file_serial(machine)]
fn two_networks_communicate_through_a_router() {
    let lab = Lab::new();
    let [left, router, right] = [(); 3].map(|()| Inhabitant::new(&lab));
    for words in [["make", "veth", "l0", "left0"], ["make", "veth", "r0", "right0"]]
    {
        router.call(&lab, &words);
    }
    set(&lab, &router, "l0", "10.1.0.1/24");
    set(&lab, &router, "r0", "10.2.0.1/24");
    plug(&lab, &router, "left0", &left, "10.1.0.2/24");
    plug(&lab, &router, "right0", &right, "10.2.0.2/24");

    // The neighbour is reachable, and the network behind it is not.
    assert!(ping(&lab, &left, "10.1.0.1").0);
    let (answered, said) = ping(&lab, &left, "10.2.0.2");
    assert!(!answered && said.contains("unreachable"), "{said}");

    left.call(&lab, &["route", "add", "default", "via", "10.1.0.1"]);
    let back = ["route", "add", "10.1.0.0/24", "dev", "right0", "via", "10.2.0.1"];
    right.call(&lab, &back);
    // A host does not forward packets until this is enabled. A new namespace inherits
    // the setting of the first one.
    let forward = |value: &str| {
        let script = format!("echo {value} > /proc/sys/net/ipv4/ip_forward");
        let mut shell = router.enter(&lab, Path::new("sh"));
        shell.args(["-c", &script]).assert().success();
    };
    forward("0");
    assert!(!ping(&lab, &left, "10.2.0.2").0);
    forward("1");
    for (from, address) in [(&left, "10.2.0.2"), (&right, "10.1.0.2")] {
        let (answered, said) = ping(&lab, from, address);
        assert!(answered, "{said}");
    }

    assert_eq!(
        left.call(&lab, &["route", "show"]),
        "default via 10.1.0.1 dev left0\n10.1.0.0/24 dev left0\n"
    );
    assert_eq!(
        right.call(&lab, &["route", "show"]),
        "10.1.0.0/24 via 10.2.0.1 dev right0\n10.2.0.0/24 dev right0\n"
    );
    left.call(&lab, &["route", "remove", "default"]);
    let (answered, said) = ping(&lab, &left, "10.2.0.2");
    assert!(!answered && said.contains("unreachable"), "{said}");

    // A device that loses its address loses its routes too.
    left.call(&lab, &["address", "remove", "10.1.0.2/24", "dev", "left0"]);
    assert_eq!(left.call(&lab, &["route", "show"]), "");
    assert!(!left.call(&lab, &["address", "show"]).contains("10.1.0.2"));
}

#[test]
#[file_serial(machine)]
fn a_bridge_connects_its_ports() {
    let lab = Lab::new();
    let [one, switch, two] = [(); 3].map(|()| Inhabitant::new(&lab));
    switch.call(&lab, &["make", "bridge", "br0"]);
    switch.call(&lab, &["up", "br0"]);
    for (port, other, inhabitant, address) in [
        ("port1", "one0", &one, "192.168.10.2/24"),
        ("port2", "two0", &two, "192.168.10.3/24"),
    ] {
        switch.call(&lab, &["make", "veth", port, other]);
        switch.call(&lab, &["up", port]);
        plug(&lab, &switch, other, inhabitant, address);
    }
    // Without a master, a port is not connected to the other port. After this failed
    // ping, `two` does not find `one` for some seconds, so `one` sends the next ping.
    assert!(!ping(&lab, &two, "192.168.10.2").0);
    switch.call(&lab, &["master", "port1", "br0"]);
    switch.call(&lab, &["master", "port2", "br0"]);
    let (answered, said) = ping(&lab, &one, "192.168.10.3");
    assert!(answered, "{said}");
    let list = switch.call(&lab, &["list"]);
    assert_eq!(row(&list, "port1").unwrap()[7], "br0", "{list}");
}

#[test]
#[file_serial(machine)]
fn list_shows_hardware_address_mtu_flags_peer_and_netns_local() {
    let lab = Lab::new();
    let [here, there] = [(); 2].map(|()| Inhabitant::new(&lab));
    here.call(&lab, &["make", "bridge", "br0"]);
    here.call(&lab, &["make", "veth", "a", "b"]);
    here.call(&lab, &["up", "a"]);
    let mut sysfs = here.enter(&lab, &bin_dir().join("ch02-mount"));
    let script = "mount -t sysfs sysfs /sys; cat /sys/class/net/a/address";
    let assert = sysfs.args(["run", "sh", "-c", script]).assert().success();
    let mac = text(&assert.get_output().stdout);

    let flags = |device: &str| {
        let list = here.call(&lab, &["list"]);
        row(&list, device).unwrap()[5].to_owned()
    };
    // The kernel checks the carrier a little later.
    until(|| flags("a") == "BMU");
    let list = here.call(&lab, &["list"]);
    let shown = |name| row(&list, name).unwrap()[2..9].to_vec();
    assert_eq!(shown("a"), ["up", "1500", mac.trim(), "BMU", "b", "-", "no"]);
    let (of_bridge, of_lo) = (shown("br0"), shown("lo"));
    assert_eq!(of_bridge[3..], ["BM", "-", "-", "yes"]);
    assert_eq!(of_lo[1..], ["65536", "00:00:00:00:00:00", "L", "-", "-", "yes"]);
    assert_eq!(shown("b")[3..], ["BM", "a", "-", "no"]);

    // An index in another namespace is not mistaken for a device of this namespace.
    let index = row(&list, "a").unwrap()[0].to_owned();
    there.call(&lab, &["make", "veth", "x0", "x1"]);
    there.call(&lab, &["make", "veth", "y0", "y1"]);
    assert_eq!(row(&there.call(&lab, &["list"]), "y1").unwrap()[0], index);
    here.call(&lab, &["move", "b", &there.pid]);
    there.call(&lab, &["up", "b"]);
    let other = there.call(&lab, &["list"]);
    assert_eq!(row(&other, "b").unwrap()[6], format!("if{index}"), "{other}");
    // Both ends have a carrier now.
    until(|| flags("a") == "BMRU");
}

#[test]
#[file_serial(machine)]
fn address_and_route_errors_name_the_cause_and_the_remedy() {
    let lab = Lab::new();
    let inhabitant = Inhabitant::new(&lab);
    inhabitant.call(&lab, &["make", "veth", "a", "b"]);
    inhabitant.call(&lab, &["address", "add", "10.0.0.1/24", "dev", "a"]);
    for (words, code, error, hint) in [
        ("address add 10.0.0.1/24 dev a", 125, "EEXIST", "has this address already"),
        ("address add 10.0.0.1/24 dev c", 125, "ENODEV", "list shows all devices"),
        ("address add 10.0.0.1 dev a", 2, "missing", "such as 10.0.0.1/24"),
        ("address add 10.0.0.1/33 dev a", 2, "prefix length", "from 0 to 32"),
        ("address add 10.0.0.256/24 dev a", 2, "not an IPv4 address", "255"),
        ("address add fe80::1/64 dev a", 2, "IPv6 address", "IPv4 addresses only"),
        ("address add 10.0.0.2/24", 2, "expected", "\"dev DEVICE\""),
        ("address add 10.0.0.2/24 a", 2, "unexpected argument \"a\"", "\"dev\""),
        ("address add 10.0.0.2/24 dev", 2, "\"dev\" is missing", "value"),
        ("address remove 10.0.0.1/25 dev a", 125, "EADDRNOTAVAIL", "10.0.0.1/25"),
        ("address show dev c", 125, "ENODEV", "list shows all devices"),
        (
            "route add default via 10.0.0.254",
            125,
            "ENETUNREACH",
            "set the device up",
        ),
        ("route add 10.7.0.0/16 dev a", 125, "ENETDOWN", "set the device up first"),
        ("route add 10.7.0.0/16", 2, "expected", "\"dev DEVICE\""),
        ("route add 10.7.0.1/16 dev a", 2, "not the first address", "10.7.0.0/16"),
        ("route add 10.7.0.0/16 dev a dev b", 2, "\"dev\"", "given twice"),
        (
            "route add 10.7.0.0/16 via a",
            2,
            "invalid value of \"via\"",
            "four numbers",
        ),
        ("route add 10.7.0.0/16 dev c", 125, "ENODEV", "list shows all devices"),
        ("route remove default", 125, "ESRCH", "no such route"),
        ("master a c", 125, "ENODEV", "list shows all devices"),
        ("master a lo", 125, "EOPNOTSUPP", "lo must be a bridge"),
    ] {
        let mut call = inhabitant.enter(&lab, &chapter());
        let assert = call.args(words.split(' ')).assert().code(code);
        assert.stderr(contains(error).and(contains(hint)));
    }
    inhabitant.call(&lab, &["up", "a"]);
    inhabitant.call(&lab, &["route", "add", "10.7.0.0/16", "dev", "a"]);
    let mut again = inhabitant.enter(&lab, &chapter());
    let assert = again.args("route add 10.7.0.0/16 dev a".split(' ')).assert();
    let hint = "a route to 10.7.0.0/16 already exists";
    assert.code(125).stderr(contains("EEXIST").and(contains(hint)));
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_can_show_addresses_and_routes() {
    let lab = Lab::new();
    for words in [&["address", "show"][..], &["addr", "list"], &["route", "show"]] {
        let as_root = lab.chapter("ch02-net").args(words).assert().success();
        let as_user = lab.as_user("ch02-net").args(words).assert().success();
        let [root, user] =
            [as_root, as_user].map(|it| it.get_output().stdout.clone());
        assert_eq!(text(&root), text(&user));
    }
    let shown =
        lab.chapter("ch02-net").args(["address", "show", "dev", "lo"]).assert();
    shown.success().stdout(contains("127.0.0.1/8 dev lo\n"));
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    for words in [
        &[][..],
        &["list"],
        &["address"],
        &["address", "add"],
        &["address", "remove"],
        &["address", "show"],
        &["route"],
        &["route", "add"],
        &["route", "remove"],
        &["route", "show"],
    ] {
        let mut help = lab.chapter("ch02-net");
        let assert = help.args(words).arg("--help").assert().success();
        let name = [&["ch02-net"], words, &["help"]].concat().join("-");
        assert_snapshot!(name, text(&assert.get_output().stdout));
    }
}
