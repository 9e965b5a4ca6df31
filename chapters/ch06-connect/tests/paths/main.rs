//! The paths of packets to a published port, with real packets between network
//! namespaces. `cargo xtask test networks` runs these tests, in a VM or as root.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ch02_net::Route;
use ch06_connect::conntrack;
use ch06_connect::firewall::{OwnedTable, open_table, tell_owner};
use ch06_connect::foreign::probe;
use ch06_connect::nft::{Batch, Expression};
use ch06_network::{Driver, Network};
use common::state::{Id, Protocol, Published};
use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags};

use crate::lab::{Host, Lab, SILENCE, TIMEOUT};

mod foreign;
mod lab;
mod ufw;

const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];
const K1: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 2);
const SUBNET: (Ipv4Addr, u8) = (Ipv4Addr::new(192, 168, 10, 0), 24);

fn published(address: Option<[u8; 4]>, host: u16, guest: u16) -> Vec<Published> {
    let address = address.map(Ipv4Addr::from);
    [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| Published { protocol, address, host, guest })
        .to_vec()
}

fn table(host: &Host, published: &[Published]) -> OwnedTable {
    host.inside(|| open_table(&Id::new().unwrap(), "br0", SUBNET, K1, published))
        .unwrap()
}

/// Check the table of paths of the laboratory, for both protocols. Returns the rows
/// with unexpected results.
fn rows(lab: &Lab) -> Vec<String> {
    let Lab { client, host, k1, k2, k3 } = lab;
    let paths = [
        ("another host", client, "203.0.113.1", 8080, "203.0.113.2"),
        ("host, own address", host, "203.0.113.1", 8080, "203.0.113.1"),
        ("host, gateway", host, "192.168.10.1", 8080, "192.168.10.1"),
        ("host, 127.0.0.1", host, "127.0.0.1", 8080, "192.168.10.1"),
        ("host, 127.0.0.5", host, "127.0.0.5", 8080, "192.168.10.1"),
        ("neighbour, host", k2, "203.0.113.1", 8080, "192.168.10.1"),
        ("neighbour, gateway", k2, "192.168.10.1", 8080, "192.168.10.1"),
        ("neighbour, directly", k2, "192.168.10.2", 80, "192.168.10.3"),
        ("itself, host", k1, "203.0.113.1", 8080, "192.168.10.1"),
        ("itself, gateway", k1, "192.168.10.1", 8080, "192.168.10.1"),
        ("to the outside", k1, "203.0.113.2", 7, "203.0.113.1"),
        ("other network, host", k3, "203.0.113.1", 8080, "192.168.20.2"),
        ("other network, gateway", k3, "192.168.20.1", 8080, "192.168.20.2"),
        ("other network, directly", k3, "192.168.10.2", 80, "no answer"),
        ("host, ::1", host, "::1", 8080, "refused"),
        ("LAN with a route, 80", client, "192.168.10.2", 80, "no answer"),
        ("LAN with a route, 81", client, "192.168.10.2", 81, "no answer"),
    ];
    let ask =
        |protocol, (path, from, address, port, expected): (_, &Host, _, _, _)| {
            let seen = match expected {
                "no answer" if from.gets_no_answer(protocol, address, port) => {
                    "no answer".to_owned()
                }
                _ => from.ask(protocol, address, port),
            };
            let row = format!("{protocol} {path:24} {address}:{port:<5} {seen}");
            eprintln!("  {row}");
            (seen != expected).then(|| format!("{row}, not {expected}"))
        };
    // Test all paths in parallel, because a path without an answer takes long.
    thread::scope(|scope| {
        let rows = BOTH.map(|protocol| {
            paths.map(|path| scope.spawn(move || ask(protocol, path)))
        });
        rows.into_iter().flatten().filter_map(|row| row.join().unwrap()).collect()
    })
}

#[test]
fn each_path_has_the_result_of_the_table() {
    let lab = Lab::new();
    lab.client.add_route("192.168.10.0", 24, "203.0.113.1");
    let table = table(&lab.host, &published(None, 8080, 80));
    if let Some(rules) = lab.host.run("nft list ruleset") {
        eprintln!("{rules}");
    }
    let mut wrong = Vec::new();
    for (rp_filter, bridge_nf) in [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")] {
        eprintln!("rp_filter={rp_filter} bridge-nf-call-iptables={bridge_nf}");
        for device in ["all", "default", "br0", "br1", "lan", "lo"] {
            lab.host.set(&format!("ipv4/conf/{device}/rp_filter"), rp_filter);
        }
        lab.host.set("bridge/bridge-nf-call-iptables", bridge_nf);
        wrong.extend(rows(&lab));
    }
    assert_eq!(wrong, Vec::<String>::new());
    table.delete().unwrap();
    assert_eq!(lab.host.rules().tables().unwrap(), []);
}

#[test]
fn a_port_of_one_address_is_published_there_only() {
    let lab = Lab::new();
    let Lab { client, host, k2, .. } = &lab;
    let mut ports = published(Some([127, 0, 0, 1]), 8081, 80);
    ports.extend(published(Some([203, 0, 113, 1]), 8082, 80));
    let _table = table(host, &ports);
    for protocol in BOTH {
        let ask = |host: &Host, address, port| host.ask(protocol, address, port);
        assert_eq!(ask(host, "127.0.0.1", 8081), "192.168.10.1");
        assert_eq!(ask(host, "127.0.0.5", 8081), "refused");
        assert_eq!(ask(host, "203.0.113.1", 8081), "refused");
        assert_eq!(ask(client, "203.0.113.1", 8081), "refused");
        assert_eq!(ask(k2, "192.168.10.1", 8081), "refused");
        assert_eq!(ask(client, "203.0.113.1", 8082), "203.0.113.2");
        assert_eq!(ask(host, "203.0.113.1", 8082), "203.0.113.1");
        assert_eq!(ask(k2, "203.0.113.1", 8082), "192.168.10.1");
        assert_eq!(ask(host, "127.0.0.1", 8082), "refused");
        assert_eq!(ask(k2, "192.168.10.1", 8082), "refused");
    }
}

/// Let a host send packets to 127.0.0.1 through a gateway.
fn forge(host: &Host, gateway: &str) {
    host.route().remove_address("lo", Ipv4Addr::LOCALHOST, 8).unwrap();
    host.add_route("127.0.0.1", 32, gateway);
    host.set("ipv4/conf/eth0/route_localnet", "1");
    host.set("ipv4/conf/all/rp_filter", "0");
    host.set("ipv4/conf/eth0/rp_filter", "0");
}

#[test]
fn forged_packets_to_loopback_are_dropped() {
    let lab = Lab::new();
    let Lab { client, host, k2, .. } = &lab;
    for device in ["all", "br0", "lan"] {
        host.set(&format!("ipv4/conf/{device}/rp_filter"), "0");
    }
    for protocol in BOTH {
        host.serve(protocol, "127.0.0.1", 6000);
        host.serve(protocol, "0.0.0.0", 6001);
    }
    forge(client, "203.0.113.1");
    forge(k2, "192.168.10.1");
    // First check the laboratory itself: without rules, the packets of k2 arrive.
    assert_eq!(k2.ask(Protocol::Tcp, "127.0.0.1", 6000), "192.168.10.3");
    let _table = table(host, &published(Some([127, 0, 0, 1]), 8081, 80));
    for protocol in BOTH {
        assert_eq!(host.ask(protocol, "127.0.0.1", 6000), "127.0.0.1");
        assert!(k2.gets_no_answer(protocol, "127.0.0.1", 6000));
        assert!(k2.gets_no_answer(protocol, "127.0.0.1", 8081));
        assert!(client.gets_no_answer(protocol, "127.0.0.1", 8081));
    }
}

#[test]
fn forged_packets_from_loopback_are_dropped() {
    let lab = Lab::new();
    let Lab { host, k2, .. } = &lab;
    for device in ["all", "br0"] {
        host.set(&format!("ipv4/conf/{device}/rp_filter"), "0");
    }
    // The server stores the received bytes.
    let server = host.inside(|| UdpSocket::bind(("192.168.10.1", 6001)).unwrap());
    server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let address = Ipv4Addr::new(127, 0, 0, 5);
    k2.route().add_address("eth0", address, 32).unwrap();
    k2.set("ipv4/conf/eth0/route_localnet", "1");
    let received = || {
        k2.ask_from(("127.0.0.5", 0), "192.168.10.1", 6001);
        server.recv_from(&mut [0; 8]).ok().map(|(_, from)| from.ip().to_string())
    };
    assert_eq!(received().as_deref(), Some("127.0.0.5"));
    let _table = table(host, &[]);
    assert_eq!(received(), None);
}

#[test]
fn a_bridge_has_the_mtu_of_the_default_route() {
    let lab = Lab::new();
    let route = lab.host.route();
    let made = |name: &str, third: u8| {
        let gateway = Ipv4Addr::new(192, 168, third, 1);
        let network = Network {
            name: name.parse().unwrap(),
            id: Id::new().unwrap(),
            driver: Driver::Bridge,
            bridge: name.to_owned(),
            subnet: format!("192.168.{third}.0/24").parse().unwrap(),
            gateway,
            created: 1,
        };
        lab.host.inside(|| network.ensure_bridge(&Route::open().unwrap())).unwrap();
        route.link(name).unwrap().mtu
    };
    route.set_mtu("lan", 1400).unwrap();
    assert_eq!(made("early", 30), 1500);
    lab.host.add_route("0.0.0.0", 0, "203.0.113.2");
    assert_eq!(made("late", 40), 1400);
}

#[test]
fn a_udp_client_finds_the_new_container() {
    let lab = Lab::new();
    let Lab { client, host, .. } = &lab;
    let ask_for = |time| {
        let from = Some(("203.0.113.2", 5000));
        client.ask_for(time, Protocol::Udp, from, "203.0.113.1", 8080)
    };
    // On a busy machine, an answer may come later than silence is waited for.
    let ask = || ask_for(TIMEOUT);
    // The kernel tracks connections only while a table needs it.
    let _other = table(host, &published(None, 1, 1));
    // The host itself refuses the packet. The kernel tracks this connection.
    assert_eq!(ask(), "refused");
    let ports = published(None, 8080, 80);
    let first = table(host, &ports);
    assert_eq!(ask(), "refused");
    assert_eq!(
        host.inside(|| conntrack::forget(first.rules(), K1, &ports)).unwrap(),
        1
    );
    assert_eq!(ask(), "203.0.113.2");
    // The container has ended, and another one has its port.
    drop(first);
    let k2 = Ipv4Addr::new(192, 168, 10, 3);
    lab.k1.route().set_down("eth0").unwrap();
    let second = host
        .inside(|| open_table(&Id::new().unwrap(), "br0", SUBNET, k2, &ports))
        .unwrap();
    assert_eq!(ask_for(SILENCE), "no answer");
    assert_eq!(
        host.inside(|| conntrack::forget(second.rules(), k2, &ports)).unwrap(),
        1
    );
    assert_eq!(ask(), "203.0.113.2");
}

/// A second process for the next test: it owns a table and waits.
#[test]
#[ignore = "the_table_ends_with_its_process runs it"]
fn wait_with_a_table() {
    let _table = open_table(&Id::new().unwrap(), "br0", SUBNET, K1, &[]).unwrap();
    thread::sleep(Duration::from_secs(30));
}

#[test]
fn the_table_ends_with_its_process() {
    let lab = Lab::new();
    let rules = lab.host.rules();
    let tables = || rules.tables().unwrap();
    let wait_until = |there: bool| {
        let start = Instant::now();
        while tables().is_empty() == there {
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", tables());
            thread::sleep(Duration::from_millis(1));
        }
    };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "wait_with_a_table"]);
    let command = command.stdout(Stdio::null());
    let mut process = lab.host.inside(|| command.spawn().unwrap());
    wait_until(true);
    // No other process can delete it.
    let mut batch = Batch::new();
    batch.delete_table(&tables()[0]);
    let error = rules.commit(batch).unwrap_err();
    assert_eq!(error.root_cause().downcast_ref(), Some(&Errno::EPERM));
    process.kill().unwrap();
    process.wait().unwrap();
    wait_until(false);
}

#[test]
fn only_the_owner_of_a_table_is_notified() {
    let lab = Lab::new();
    let ids = [Id::new().unwrap(), Id::new().unwrap()];
    let [one, other] = ids.each_ref().map(|id| {
        lab.host.inside(|| open_table(id, "br0", SUBNET, K1, &[])).unwrap()
    });
    let is_told = |table: &OwnedTable| {
        let end = table.end().unwrap();
        let mut ends = [PollFd::new(&end, PollFlags::IN)];
        common::poll(&mut ends, Some(Duration::ZERO)).unwrap();
        !ends[0].revents().is_empty()
    };
    assert!(!is_told(&one) && !is_told(&other));
    let tell = |id| lab.host.inside(|| tell_owner(id, "br0")).unwrap();
    tell(&ids[0]);
    assert!(is_told(&one) && !is_told(&other));
    // A pending message does not prevent the deletion of the table.
    drop(one.delete().unwrap());
    tell(&ids[0]);
    assert!(!is_told(&other));
}

#[test]
fn many_ports_need_only_one_commit() {
    let lab = Lab::new();
    let ports: Vec<Published> =
        (20_000..21_000).flat_map(|port| published(None, port, port)).collect();
    let start = Instant::now();
    let table = table(&lab.host, &ports);
    eprintln!("2000 ports: {:?}", start.elapsed());
    let count = |chain| table.rules().rules(table.table(), chain).unwrap().len();
    assert_eq!([count("arrives"), count("own"), count("leaves")], [2000, 2000, 3]);
}

#[test]
fn an_error_names_the_rule() {
    let lab = Lab::new();
    let id = Id::new().unwrap();
    let open = || {
        lab.host
            .inside(|| open_table(&id, "br0", SUBNET, K1, &[]))
            .map_err(|error| format!("{error:#}"))
    };
    let first = open();
    assert!(first.is_ok());
    let error = open().unwrap_err();
    assert!(error.contains(&format!("add table ip mydocker-{id}")), "{error}");
    // It exists, and another socket owns it.
    assert!(error.contains("EPERM"), "{error}");
    let first = first.unwrap();
    let mut batch = Batch::new();
    for chain in ["forward", "nowhere", "guard", "nowhere"] {
        batch.append(first.table(), chain, &[Expression::Counter, Expression::Drop]);
    }
    let error = format!("{:#}", first.rules().commit(batch).unwrap_err());
    let rule = format!("add rule {} nowhere counter drop: ENOENT", first.table());
    assert!(error.contains(&rule), "{error}");
    // No change of the batch was applied.
    assert_eq!(first.rules().rules(first.table(), "guard").unwrap().len(), 2);
}

/// Print medians of 30 runs: create a table, and remove it in two ways.
#[test]
#[ignore = "a measurement: cargo test -p ch06-connect --test paths time_of -- --ignored --nocapture"]
fn time_of_a_table() {
    let lab = Lab::new();
    let ports = published(None, 8080, 80);
    let new = || open_table(&Id::new().unwrap(), "br0", SUBNET, K1, &ports).unwrap();
    let median = |what: &str, mut times: Vec<Duration>| {
        times.sort();
        eprintln!("  {what:32} {:?}", times[times.len() / 2]);
    };
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    lab.host.add_route("0.0.0.0", 0, "203.0.113.2");
    let table = table(&lab.host, &ports);
    lab.host.inside(|| {
        let (rules, k1) = (table.rules(), lab.k1.0.as_fd());
        let (mut passed, mut forgotten) = (vec![], vec![]);
        for _ in 0..30 {
            passed.push(time(&mut || {
                probe(rules, k1, K1).unwrap();
            }));
            forgotten.push(time(&mut || {
                conntrack::forget(rules, K1, &ports).unwrap();
            }));
        }
        median("probe", passed);
        median("forget", forgotten);
    });
    drop(table);
    for others in [0, 1, 20] {
        let _others: Vec<_> = (0..others).map(|_| lab.host.inside(new)).collect();
        eprintln!("{others} other tables");
        lab.host.inside(|| {
            let mut table = None;
            let (mut make, mut close) = (vec![], vec![]);
            let (mut delete, mut at_once, mut later) = (vec![], vec![], vec![]);
            for round in 0..90 {
                make.push(time(&mut || table = Some(new())));
                let mut table = table.take();
                if round % 3 == 0 {
                    close.push(time(&mut || drop(table.take())));
                    continue;
                }
                let mut rules = None;
                delete.push(time(&mut || {
                    rules = table.take().map(|table| table.delete().unwrap());
                }));
                if round % 3 == 1 {
                    at_once.push(time(&mut || drop(rules.take())));
                } else {
                    thread::sleep(Duration::from_millis(30));
                    later.push(time(&mut || drop(rules.take())));
                }
            }
            // Another container ends at the same time.
            let mut beside = vec![];
            for _ in 0..30 {
                let other = new();
                let closing = thread::spawn(move || drop(other));
                thread::sleep(Duration::from_millis(1));
                beside.push(time(&mut || table = Some(new())));
                closing.join().unwrap();
                drop(table.take());
            }
            median("make beside a close", beside);
            median("make", make);
            median("close", close);
            median("delete", delete);
            median("close at once after delete", at_once);
            median("close 30 ms after delete", later);
        });
    }
}
