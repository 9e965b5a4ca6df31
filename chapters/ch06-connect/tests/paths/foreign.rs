//! The firewall of another program on the host. The probe detects it, and the rules
//! or the printed commands open it.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use ch06_connect::foreign::{self, Probe, probe};
use ch06_connect::nft::{
    Batch, Chain, Expression, Family, Hook, HookPoint, NftSocket, Table,
};
use common::state::Protocol;

use crate::lab::{Host, Lab};
use crate::{K1, published, rows, table};

/// A foreign forward chain that drops everything.
fn foreign_firewall(host: &Host, family: Family, table: &str, chain: &'static str) {
    let table = Table { family, name: table.to_owned(), owned: false };
    let mut batch = Batch::new();
    batch.add_table(&table);
    let place = HookPoint::Forward;
    batch.add_chain(&table, Hook { chain, kind: "filter", place, priority: 0 });
    batch.append(&table, chain, &[Expression::Drop]);
    host.rules().commit(batch).unwrap();
}

#[test]
fn two_plain_rules_open_a_foreign_firewall() {
    let lab = Lab::new();
    let Lab { host, k1, .. } = &lab;
    lab.client.add_route("192.168.10.0", 24, "203.0.113.1");
    host.add_route("0.0.0.0", 0, "203.0.113.2");
    let table = table(host, &published(None, 8080, 80));
    let rules = table.rules();
    let try_it = || host.inside(|| probe(rules, k1.0.as_fd(), K1)).unwrap();
    let accept = |bridge| foreign::accept(rules, bridge).unwrap().len();
    assert_eq!(try_it(), Probe::Passed);
    assert_eq!(accept("br0"), 0);
    let firewalls =
        [(Family::Inet, "mine", "passing"), (Family::Ip, "filter", "FORWARD")];
    for (count, (family, name, chain)) in (1..).zip(firewalls) {
        foreign_firewall(host, family, name, chain);
        assert_eq!(try_it(), Probe::Dropped);
        // The host itself can still reach a port.
        let closed = rows(&lab);
        assert!(dropped(&closed, "another host"), "{closed:?}");
        assert!(dropped(&closed, "to the outside"), "{closed:?}");
        assert!(!closed.iter().any(|row| row.contains(" host, ")), "{closed:?}");
        assert_eq!(accept("br0"), 1);
        assert_eq!(accept("br1"), count.min(1) + count - 1);
        // Nothing is added a second time, and the order of bridges does not matter.
        assert_eq!([accept("br0"), accept("br1")], [0, 0]);
        assert_eq!(try_it(), Probe::Passed);
        for bridge_nf in ["0", "1"] {
            host.set("bridge/bridge-nf-call-iptables", bridge_nf);
            assert_eq!(rows(&lab), Vec::<String>::new());
        }
        // Only bridge 0 keeps its rules in the first chain.
        foreign::remove(rules, "br1").unwrap();
    }
    for bridge in ["br0", "br1"] {
        foreign::remove(rules, bridge).unwrap();
    }
    for chain in foreign::forward_chains(rules, &rules.tables().unwrap()).unwrap() {
        let left = rules.rules(&chain.table, &chain.name).unwrap();
        assert!(matches!(&left[..], [rule] if rule.comment.is_none()), "{left:?}");
    }
}

#[test]
fn concurrent_processes_add_the_rules_once() {
    let lab = Lab::new();
    foreign_firewall(&lab.host, Family::Inet, "mine", "passing");
    let rules = lab.host.rules();
    let chain =
        foreign::forward_chains(&rules, &rules.tables().unwrap()).unwrap().remove(0);
    let count = || rules.rules(&chain.table, &chain.name).unwrap().len();
    for _ in 0..20 {
        let all = |work: fn(&NftSocket, &str) -> Result<Vec<Chain>>| {
            let start = Barrier::new(6);
            thread::scope(|scope| {
                for rules in [(); 6].map(|()| lab.host.rules()) {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        work(&rules, "br0").unwrap()
                    });
                }
            });
        };
        all(foreign::accept);
        assert_eq!(count(), 3);
        all(foreign::remove);
        assert_eq!(count(), 1);
    }
}

/// A chain with the policy drop, created by nft(8).
#[test]
fn a_drop_policy_of_nft_is_opened() {
    let lab = Lab::new();
    let Lab { host, k1, .. } = &lab;
    let hook = "{ type filter hook forward priority 0; policy drop; }";
    let hook = hook.replace(' ', "\u{a0}");
    if host.run("nft add table inet filter").is_none() {
        return;
    }
    host.run(&format!("nft add chain inet filter forward {hook}")).unwrap();
    lab.client.add_route("192.168.10.0", 24, "203.0.113.1");
    host.add_route("0.0.0.0", 0, "203.0.113.2");
    let table = table(host, &published(None, 8080, 80));
    let rules = table.rules();
    let try_it = || host.inside(|| probe(rules, k1.0.as_fd(), K1)).unwrap();
    assert_eq!(try_it(), Probe::Dropped);
    assert!(dropped(&rows(&lab), "another host"));
    assert_eq!(foreign::accept(rules, "br0").unwrap().len(), 1);
    assert_eq!(try_it(), Probe::Passed);
    assert_eq!(rows(&lab), Vec::<String>::new());
    let text = host.run("nft list chain inet filter forward").unwrap();
    for rule in ["iifname \"br0\" accept", "oifname \"br0\" accept"] {
        assert!(text.contains(rule), "{text}");
    }
    assert_eq!(foreign::remove(rules, "br0").unwrap().len(), 1);
    let text = host.run("nft list chain inet filter forward").unwrap();
    assert!(!text.contains("accept") && text.contains("policy drop"), "{text}");
}

/// Whether the unexpected rows include this path, for TCP and UDP.
fn dropped(rows: &[String], path: &str) -> bool {
    let with = |protocol: &str| {
        rows.iter().any(|row| row.starts_with(protocol) && row.contains(path))
    };
    with("tcp") && with("udp")
}

/// A firewall that drops packets to the host itself. It does not affect forwarded
/// packets, and a published port is forwarded.
#[test]
fn an_input_policy_does_not_close_published_ports() {
    let lab = Lab::new();
    let Lab { client, host, k2, .. } = &lab;
    if host.run("nft add table inet filter").is_none() {
        return;
    }
    let hook = "{ type filter hook input priority 0; policy drop; }";
    let hook = hook.replace(' ', "\u{a0}");
    host.run(&format!("nft add chain inet filter input {hook}")).unwrap();
    let established = "ct state established,related accept";
    for rule in [established, "iif lo accept"] {
        host.run(&format!("nft add rule inet filter input {rule}")).unwrap();
    }
    client.add_route("192.168.10.0", 24, "203.0.113.1");
    host.serve(Protocol::Tcp, "0.0.0.0", 6000);
    let _table = table(host, &published(None, 8080, 80));
    // A service of the host itself is closed.
    assert!(k2.gets_no_answer(Protocol::Tcp, "192.168.10.1", 6000));
    assert!(client.gets_no_answer(Protocol::Tcp, "203.0.113.1", 6000));
    assert_eq!(rows(&lab), Vec::<String>::new());
}

/// iptables(8) must still be able to show its chains, with our rules in them.
#[test]
fn iptables_shows_our_rules_as_its_own() {
    let lab = Lab::new();
    let Lab { host, k1, .. } = &lab;
    if host.run("iptables-nft -P FORWARD DROP").is_none() {
        return;
    }
    lab.client.add_route("192.168.10.0", 24, "203.0.113.1");
    host.add_route("0.0.0.0", 0, "203.0.113.2");
    let _table = table(host, &published(None, 8080, 80));
    let run = |line| host.run(line).unwrap();
    run("iptables-nft -A FORWARD -i nothing -j DROP");
    run("iptables-nft -t mangle -A FORWARD -o lan -p tcp -j ACCEPT");
    let before = run("iptables-nft-save");
    let rules = host.rules();
    let try_it = || host.inside(|| probe(&rules, k1.0.as_fd(), K1)).unwrap();
    assert_eq!(try_it(), Probe::Dropped);
    assert!(dropped(&rows(&lab), "another host"));
    assert_eq!(foreign::accept(&rules, "br0").unwrap().len(), 1);
    assert_eq!(
        run("iptables-nft -S FORWARD"),
        "-P FORWARD DROP\n\
         -A FORWARD -i br0 -m comment --comment \"mydocker br0\" -j ACCEPT\n\
         -A FORWARD -o br0 -m comment --comment \"mydocker br0\" -j ACCEPT\n\
         -A FORWARD -i nothing -j DROP\n"
    );
    assert_eq!(try_it(), Probe::Passed);
    assert_eq!(rows(&lab), Vec::<String>::new());
    // Foreign rules are inserted above ours. Ours move to the top again.
    run("iptables-nft -I FORWARD -i br0 -j DROP");
    assert_eq!(try_it(), Probe::Dropped);
    assert_eq!(foreign::accept(&rules, "br0").unwrap().len(), 1);
    assert_eq!(try_it(), Probe::Passed);
    // After saving and restoring, as at a reboot, our rules are still recognized.
    run("sh -c iptables-nft-save\u{a0}|iptables-nft-restore");
    assert_eq!(foreign::accept(&rules, "br0").unwrap(), []);
    run("iptables-nft -D FORWARD -i br0 -j DROP");
    assert_eq!(foreign::remove(&rules, "br0").unwrap().len(), 1);
    let plain = |text: &str| -> Vec<String> {
        // The time and the counters differ.
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(" [").next().unwrap().to_owned()).collect()
    };
    assert_eq!(plain(&run("iptables-nft-save")), plain(&before));
}

/// iptables-legacy is a separate packet filter of the kernel. Messages of nf_tables
/// do not affect it.
#[test]
fn the_printed_commands_open_a_legacy_firewall() {
    let lab = Lab::new();
    let Lab { host, k1, .. } = &lab;
    lab.client.add_route("192.168.10.0", 24, "203.0.113.1");
    host.add_route("0.0.0.0", 0, "203.0.113.2");
    let table = table(host, &published(None, 8080, 80));
    let rules = table.rules();
    let commands =
        || host.inside(|| foreign::commands(&rules.tables().unwrap(), "br0"));
    let try_it = || host.inside(|| probe(rules, k1.0.as_fd(), K1)).unwrap();
    assert_eq!(commands(), Vec::<String>::new());
    if host.run("iptables-legacy -P FORWARD DROP").is_none() {
        return;
    }
    assert_eq!(try_it(), Probe::Dropped);
    assert!(dropped(&rows(&lab), "another host"));
    assert_eq!(host.inside(|| foreign::accept(rules, "br0")).unwrap(), []);
    assert_eq!(commands().len(), 2);
    for line in commands() {
        eprintln!("{line}");
        host.run(&format!("sh -c {}", line.replace(' ', "\u{a0}")));
    }
    assert_eq!(try_it(), Probe::Passed);
    assert_eq!(rows(&lab), Vec::<String>::new());
    foreign_firewall(host, Family::Inet, "firewalld", "filter_FORWARD");
    assert!(commands()[0].starts_with("firewall-cmd"));
    assert_eq!(foreign::accept(rules, "br0").unwrap(), []);
}

#[test]
fn the_probe_reports_the_missing_condition() {
    let lab = Lab::new();
    let Lab { host, k1, .. } = &lab;
    let rules = host.rules();
    let try_it = || host.inside(|| probe(&rules, k1.0.as_fd(), K1)).unwrap();
    // The host has no route to other hosts.
    assert_eq!(try_it(), Probe::NotForwarded);
    host.add_route("0.0.0.0", 0, "203.0.113.2");
    // The datagram does not leave the host.
    let nobody = Ipv4Addr::new(192, 0, 2, 1);
    lab.client.route().add_address("lo", nobody, 32).unwrap();
    let nobody = lab.client.inside(|| UdpSocket::bind((nobody, 9)).unwrap());
    nobody.set_nonblocking(true).unwrap();
    assert_eq!(try_it(), Probe::Passed);
    thread::sleep(Duration::from_millis(20));
    assert!(nobody.recv_from(&mut [0; 8]).is_err());
    host.set("ipv4/ip_forward", "0");
    assert_eq!(try_it(), Probe::NotForwarded);
    host.set("ipv4/ip_forward", "1");
    k1.route().remove_route(Ipv4Addr::UNSPECIFIED, 0, None, None).unwrap();
    assert_eq!(try_it(), Probe::NotArrived);
    assert_eq!(rules.tables().unwrap(), []);
}
