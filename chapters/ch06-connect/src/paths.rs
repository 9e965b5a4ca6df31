//! Tests: the paths of packets to a published port, with real packets.

use std::net::Ipv4Addr;

use common::state::Id;

use common::state::{Protocol, Published};

use crate::firewall::{OwnedTable, open_table};
use crate::lab::{Host, Lab};

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

/// What the lab's table of paths says, for both protocols. Returns the rows that are
/// otherwise.
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
    let mut wrong = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for (path, from, address, port, expected) in paths {
            let seen = from.ask(protocol, address, port);
            eprintln!("  {protocol} {path:24} {address}:{port} {seen}");
            if seen != expected {
                wrong.push(format!("{protocol} {path}: {seen}, not {expected}"));
            }
        }
    }
    wrong
}

#[test]
fn each_path_leads_where_the_table_says() {
    let lab = Lab::new();
    lab.client.run("ip route add 192.168.10.0/24 via 203.0.113.1");
    let table = table(&lab.host, &published(None, 8080, 80));
    eprintln!("{}", lab.host.run("nft list ruleset"));
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
    lab.host.inside(|| table.delete()).unwrap();
    assert_eq!(lab.host.run("nft list ruleset"), "");
}
