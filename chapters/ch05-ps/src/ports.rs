//! Format published ports.

use common::state::Published;
use serde_json::{Value, json};

/// Format ports for people, like docker(1). Consecutive ports are one range:
/// `0.0.0.0:8000-8002->80-82/tcp`.
#[must_use]
pub(crate) fn ranges(ports: &[Published]) -> String {
    let mut ports = ports.to_vec();
    ports.sort_unstable_by_key(|it| (it.protocol, it.address, it.guest, it.host));
    let follows = |one: &Published, next: &Published| {
        let mut expected = *one;
        (expected.host, expected.guest) =
            (one.host.wrapping_add(1), one.guest.wrapping_add(1));
        expected == *next
    };
    let ranges: Vec<String> = ports.chunk_by(follows).map(range).collect();
    ranges.join(", ")
}

fn range(ports: &[Published]) -> String {
    match ports {
        [first, .., last] => format!(
            "{}:{}-{}->{}-{}/{}",
            first.address(),
            first.host,
            last.host,
            first.guest,
            last.guest,
            first.protocol
        ),
        one => one.iter().map(ToString::to_string).collect(),
    }
}

/// Format a port for programs.
pub(crate) fn object(port: &Published) -> Value {
    json!({
        "protocol": port.protocol.as_str(),
        "address": port.address().to_string(),
        "host": port.host,
        "guest": port.guest,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use common::state::Protocol::{self, Tcp, Udp};

    use super::*;

    fn port(protocol: Protocol, host: u16, guest: u16) -> Published {
        Published { protocol, address: None, host, guest }
    }

    #[test]
    fn consecutive_ports_are_one_range() {
        let local = Some(Ipv4Addr::LOCALHOST);
        for (ports, text) in [
            (&[][..], ""),
            (&[port(Tcp, 8080, 80)], "0.0.0.0:8080->80/tcp"),
            (
                &[port(Tcp, 8002, 82), port(Tcp, 8000, 80), port(Tcp, 8001, 81)],
                "0.0.0.0:8000-8002->80-82/tcp",
            ),
            (
                &[port(Tcp, 8000, 80), port(Tcp, 8002, 81)],
                "0.0.0.0:8000->80/tcp, 0.0.0.0:8002->81/tcp",
            ),
            (
                &[port(Udp, 53, 53), port(Tcp, 53, 53), port(Udp, 54, 54)],
                "0.0.0.0:53->53/tcp, 0.0.0.0:53-54->53-54/udp",
            ),
            (
                &[
                    port(Tcp, 80, 80),
                    Published { address: local, ..port(Tcp, 81, 81) },
                ],
                "0.0.0.0:80->80/tcp, 127.0.0.1:81->81/tcp",
            ),
            (
                &[port(Tcp, 65535, 65535), port(Tcp, 0, 0)],
                "0.0.0.0:0->0/tcp, 0.0.0.0:65535->65535/tcp",
            ),
        ] {
            assert_eq!(ranges(ports), text);
        }
    }
}
