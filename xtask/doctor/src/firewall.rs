//! The host's requirements for containers on a network: this runtime's firewall
//! rules, forwarding, no blocking rules of other firewalls, and pasta for ordinary
//! users.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ch06_connect::foreign::{commands, forward_chains};
use ch06_connect::nft::NftSocket;
use common::PATH;
use common::step::report;
use nix::errno::Errno;
use provision::command::run;

use crate::Caller;
use crate::child::attempt;
use crate::report::Check;

/// The modules that the rules use, for a kernel that does not load them
/// automatically.
const MODULES: &str = "nf_tables nft_chain_nat nft_fib_ipv4 nft_masq nft_ct";

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// `pasta --version` takes a few milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The main job needs none of them, because it has no network.
pub(crate) fn checks(caller: Caller) -> Vec<Check> {
    vec![
        rules(caller),
        connections(caller),
        forwarding(caller),
        forward(caller),
        pasta(),
        tun(caller),
    ]
}

/// Create the complete table of a container with a published port, in a network
/// namespace.
fn rules(caller: Caller) -> Check {
    let id = "firewall-rules";
    let outcome = attempt(&["rules", caller.word()]);
    match &outcome.error {
        None => Check::ok(
            id,
            "the rules of a container with a published port can be created",
        ),
        Some(error) if error.starts_with("unshare(2)") => Check::unknown(
            id,
            error,
            "fix the network namespace first: see namespace-net",
        ),
        Some(error) => Check::warn(
            id,
            error,
            format!(
                "for ch06-connect and ch06-ports: modprobe -a {MODULES}; from Linux 5.12 \
                 on, a table can have an owner"
            ),
        ),
    }
}

/// The connection table, from which the entries of a dead container are deleted.
fn connections(caller: Caller) -> Check {
    let id = "connection-tracking";
    let outcome = attempt(&["connections", caller.word()]);
    match &outcome.error {
        None => Check::ok(id, "connections can be listed and deleted"),
        Some(error) if error.starts_with("unshare(2)") => Check::unknown(
            id,
            error,
            "fix the network namespace first: see namespace-net",
        ),
        Some(error) => Check::warn(
            id,
            error,
            "modprobe nf_conntrack_netlink; without it, UDP clients of a replaced \
             container wait for half a minute",
        ),
    }
}

/// Whether the host forwards packets, or allows enabling it.
fn forwarding(caller: Caller) -> Check {
    let id = "ip-forward";
    if caller == Caller::User {
        let detail = "the networks of an ordinary user have their own namespace";
        return Check::ok(id, detail);
    }
    let value = match fs::read_to_string(IP_FORWARD) {
        Ok(value) => value,
        Err(error) => return Check::unknown(id, error.to_string(), "mount /proc"),
    };
    if value.trim() != "0" {
        let detail = "net.ipv4.ip_forward is on: this host already forwards packets";
        return Check::ok(id, detail);
    }
    // Open the file without writing to it.
    match File::options().write(true).open(IP_FORWARD) {
        Ok(_) => Check::ok(
            id,
            "net.ipv4.ip_forward is 0; run -net sets it to 1 until the last network is \
             removed",
        ),
        Err(error) => Check::warn(
            id,
            format!("net.ipv4.ip_forward is 0, and cannot be changed here: {error}"),
            "on the host: sysctl -w net.ipv4.ip_forward=1",
        ),
    }
}

/// The chains of other programs that filter forwarded packets.
fn forward(caller: Caller) -> Check {
    let id = "forward-owner";
    if caller == Caller::User {
        let detail =
            "the host's firewall does not affect the networks of an ordinary user";
        return Check::ok(id, detail);
    }
    let bridge = "BRIDGE";
    let found = NftSocket::open().and_then(|rules| {
        let tables = rules.tables()?;
        Ok((forward_chains(&rules, &tables)?, commands(&tables, bridge)))
    });
    let (chains, commands) = match found {
        Ok(found) => found,
        Err(error) => {
            return Check::unknown(
                id,
                report(&error),
                "fix the rules first: see firewall-rules",
            );
        }
    };
    let mut owners: Vec<String> = chains
        .iter()
        .map(|chain| format!("{} {}", chain.table, chain.name))
        .collect();
    for (program, word) in [
        ("firewall-cmd", "firewalld"),
        ("iptables-legacy", "iptables-legacy FORWARD"),
    ] {
        if commands.iter().any(|command| command.starts_with(program)) {
            owners.push(word.to_owned());
        }
    }
    let shown = owners.join(", ");
    if owners.is_empty() {
        Check::ok(id, "no chain of another program filters forwarded packets")
    } else if commands.is_empty() {
        Check::ok(
            id,
            format!(
                "{shown}: if it drops packets of containers, run -net adds two \
                 rules"
            ),
        )
    } else {
        Check::warn(
            id,
            format!("{shown}: the rules of this runtime cannot open it"),
            format!(
                "only if containers cannot reach other hosts: {}; BRIDGE is the name of \
                 the network",
                commands.join("; ")
            ),
        )
    }
}

/// The program that connects the networks of ordinary users.
fn pasta() -> Check {
    let id = "pasta";
    let fix = "for the networks of ordinary users: apt-get install passt, dnf install \
               passt, apk add passt; without it, their containers reach each other and no \
               other host";
    let found = PATH.split(':').map(|dir| PathBuf::from(dir).join("pasta"));
    let Some(program) = found.into_iter().find(|file| file.is_file()) else {
        return Check::warn(id, "no pasta in PATH", fix);
    };
    match run(Command::new(&program).arg("--version"), TIMEOUT) {
        Ok(said) => {
            let text = String::from_utf8_lossy(&said.out).into_owned();
            let first =
                text.lines().next().unwrap_or("it prints no version").to_owned();
            Check::ok(id, first)
        }
        Err(error) => Check::warn(id, report(&error), fix),
    }
}

/// The device from which pasta creates a network interface.
fn tun(caller: Caller) -> Check {
    let id = "tun";
    let outcome = attempt(&["tun", caller.word()]);
    let Some(error) = &outcome.error else {
        return Check::ok(id, "ordinary users can open /dev/net/tun");
    };
    let changed = ["setgroups(2)", "setgid(2)", "setuid(2)"];
    if changed.iter().any(|call| error.starts_with(call)) {
        let detail = format!("an ordinary user cannot be tried: {error}");
        return Check::unknown(id, detail, "run it as an ordinary user");
    }
    let fix = match outcome.errno() {
        Some(Errno::EACCES) => "for pasta: chmod 666 /dev/net/tun",
        Some(Errno::ENODEV) => "for pasta: modprobe tun",
        _ => {
            "for pasta: modprobe tun; inside a container: docker run --device \
             /dev/net/tun"
        }
    };
    Check::warn(id, error, fix)
}
