//! The exercises of chapter 6.

use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("ch06-network-1", "remove_f_accepts_a_missing_network", missing, "'-f'"),
    (
        "ch06-network-2",
        "dry_run_prints_the_subnet_and_creates_nothing",
        dry_run,
        "'--dry-run'",
    ),
    ("ch06-network-3", "free_counts_the_free_addresses", free, "'free'"),
    (
        "ch06-connect-1",
        "other_containers_see_a_network_alias",
        alias,
        "'--network-alias'",
    ),
    ("ch06-connect-2", "host_internal_is_the_gateway", gateway, "\"\""),
    ("ch06-connect-3", "mtu_limits_the_packet_size", mtu, "'--mtu'"),
    (
        "ch06-ports-1",
        "the_first_free_port_of_a_range_is_published",
        first_free,
        "ranges",
    ),
    (
        "ch06-ports-2",
        "port_without_a_name_lists_all_containers",
        all_ports,
        "required arguments",
    ),
    ("ch06-ports-3", "q_prints_only_the_port_number", number, "'-q'"),
];

fn missing(room: &mut Room) -> Outcome {
    room.words(&["network", "remove", "-f", "nowhere"]).end()?.succeeds()?;
    let refused = room.words(&["network", "remove", "nowhere"]).end()?;
    refused.so(refused.code != 0, "an error without -f")
}

fn dry_run(room: &mut Room) -> Outcome {
    let words =
        ["network", "create", "--dry-run", "--subnet", "198.18.10.0/24", "web"];
    room.words(&words).end()?.prints("198.18.10.0/24 198.18.10.1\n")?;
    let made = std::fs::exists("/sys/class/net/web").unwrap_or(true);
    so(!made, "no bridge", "a bridge web")?;
    room.words(&["network", "list", "-q"]).end()?.prints("")
}

fn free(room: &mut Room) -> Outcome {
    let subnets = [("198.18.10.0/29", "5\n"), ("198.18.10.8/31", "1\n")];
    subnets.into_iter().try_for_each(|(subnet, count)| {
        let create = ["network", "create", "--subnet", subnet, "web"];
        room.words(&create).end()?.succeeds()?;
        let counted = room.words(&["network", "free", "web"]).end();
        room.words(&["network", "remove", "web"]).end()?.succeeds()?;
        counted?.prints(count)
    })
}

/// Run `look` while detached containers with these names and flags run in the network
/// `web`.
fn among(
    room: &mut Room,
    containers: &[(&str, &[&str])],
    look: impl FnOnce(&mut Room) -> Outcome,
) -> Outcome {
    let create = ["network", "create", "--subnet", "198.18.10.0/24", "web"];
    room.words(&create).end()?.succeeds()?;
    let run = |room: &mut Room, (name, flags): (&str, &[&str])| -> Outcome {
        let words = ["run", "-d", "-net", "web", "--name", name];
        let words = [&words[..], flags, &["busybox", "sleep", "1000"]].concat();
        room.words(&words).end()?.succeeds()
    };
    let found = containers.iter().try_for_each(|it| run(room, *it));
    let found = found.and_then(|()| look(room));
    for (name, _) in containers {
        room.words(&["rm", "-f", name]).end()?;
    }
    room.words(&["network", "remove", "web"]).end()?.succeeds()?;
    found
}

/// A sed script that prints `yes` for the line with an address and a name in /etc/hosts.
fn line(address: &str, name: &str) -> String {
    format!("s/^{address}[[:space:]].*\\b{name}\\b.*/yes/p")
}

fn alias(room: &mut Room) -> Outcome {
    let line = line("198.18.10.3", "db");
    let asked = ["busybox", "sed", "-n", &line, "/etc/hosts"];
    let named = ["--ip", "198.18.10.3", "--network-alias", "db"];
    among(room, &[("before", &[]), ("named", &named)], |room| {
        let before = [&["exec", "before"], &asked[1..]].concat();
        room.words(&before).end()?.prints("yes\n")?;
        let after = [&["run", "--rm", "-net", "web"], &asked[..]].concat();
        room.words(&after).end()?.prints("yes\n")?;
        room.words(&["rm", "-f", "named"]).end()?.succeeds()?;
        room.words(&before).end()?.prints("")
    })
}

fn gateway(room: &mut Room) -> Outcome {
    among(room, &[], |room| {
        let line = line("198.18.10.1", "host.internal");
        let run = ["run", "--rm", "-net", "web", "busybox", "sed", "-n", &line];
        room.words(&[&run[..], &["/etc/hosts"]].concat()).end()?.prints("yes\n")
    })
}

fn mtu(room: &mut Room) -> Outcome {
    among(room, &[], |room| {
        let run = ["run", "--rm", "-net", "web", "--mtu", "1400", "busybox"];
        let ask = ["sh", "-c", "ifconfig eth0 | grep -o MTU:1400"];
        room.words(&[&run[..], &ask].concat()).end()?.prints("MTU:1400\n")
    })
}

fn first_free(room: &mut Room) -> Outcome {
    let range = "40080-40090:80";
    let flags = ["-p", range];
    among(room, &[("one", &flags), ("two", &flags)], |room| {
        room.words(&["port", "one", "80"]).end()?.prints("0.0.0.0:40080\n")?;
        room.words(&["port", "two", "80"]).end()?.prints("0.0.0.0:40081\n")
    })
}

fn all_ports(room: &mut Room) -> Outcome {
    among(room, &[("one", &["-p", "40080:80"])], |room| {
        room.words(&["port"]).end()?.prints("one 80/tcp -> 0.0.0.0:40080\n")
    })
}

fn number(room: &mut Room) -> Outcome {
    among(room, &[("one", &["-p", "40080:80"])], |room| {
        room.words(&["port", "-q", "one", "80"]).end()?.prints("40080\n")
    })
}
