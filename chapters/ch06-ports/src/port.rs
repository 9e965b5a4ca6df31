//! `port`: show the published ports of a container.

use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail, ensure};
use clap::Args;
use common::Exit;
use common::cli::{Context, Execute};
use common::output;
use common::state::{LockState, Protocol, Published, Record};

/// Show the published ports of a container
#[derive(Args, Debug)]
#[group(skip)]
pub struct Port {
    /// Name of the container, its ID, or a unique prefix of its ID
    pub container: String,

    /// Show only this port of the container, for example 80 or 53/udp [default: all]
    #[arg(value_name = "GUEST[/udp]")]
    pub port: Option<GuestPort>,
}

/// A port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPort {
    number: u16,
    protocol: Protocol,
}

impl FromStr for GuestPort {
    type Err = Error;

    fn from_str(text: &str) -> Result<GuestPort> {
        let (number, name) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol =
            Protocol::named(&name.to_ascii_lowercase()).with_context(|| {
                format!("unknown protocol {name:?}: use /tcp or /udp")
            })?;
        let number = number.parse().ok().filter(|number| *number != 0);
        let number = number.with_context(|| {
            format!("invalid port {text:?}: expected a number from 1 to 65535")
        })?;
        Ok(GuestPort { number, protocol })
    }
}

impl Execute for Port {
    fn execute(self, context: &Context) -> Result<Exit> {
        let record = Record::find(&context.state, &self.container)?;
        // The ports are published only while the supervisor is running and holds the
        // lock.
        let ports = match record.home(&context.state).lock_state()? {
            LockState::Held(notes) => notes.ports().collect::<Vec<_>>(),
            LockState::Free => bail!(
                "container {} is not running, so it has no published ports: start it \
                 again with `run -p`",
                self.container
            ),
        };
        let text = self.text(&ports)?;
        output::report(&text, Vec::new())
    }
}

impl Port {
    /// One line for each port. If the user asks for one port, the container's port
    /// is left out, as in docker(1).
    fn text(&self, ports: &[Published]) -> Result<String> {
        let place = |it: &Published| format!("{}:{}", it.address(), it.host);
        let Some(GuestPort { number, protocol }) = self.port else {
            let line = |it: &Published| {
                format!("{}/{} -> {}\n", it.guest, it.protocol, place(it))
            };
            return Ok(ports.iter().map(line).collect());
        };
        let wanted = |it: &&Published| (it.guest, it.protocol) == (number, protocol);
        let found = ports.iter().filter(wanted);
        let lines: String = found.map(|it| place(it) + "\n").collect();
        ensure!(
            !lines.is_empty(),
            "container {} does not publish its port {number}/{protocol}: `port {0}` \
             lists the ports that it publishes",
            self.container
        );
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use common::Home;
    use common::state::{Id, State};

    use super::*;

    fn ports() -> [Published; 3] {
        let tcp = Protocol::Tcp;
        let local = Some(Ipv4Addr::LOCALHOST);
        [
            Published { protocol: tcp, address: None, host: 8080, guest: 80 },
            Published { protocol: tcp, address: local, host: 9090, guest: 80 },
            Published {
                protocol: Protocol::Udp,
                address: None,
                host: 53,
                guest: 53,
            },
        ]
    }

    fn port(port: Option<&str>) -> Port {
        let port = port.map(|port| port.parse().unwrap());
        Port { container: "web".to_owned(), port }
    }

    #[test]
    fn the_ports_are_shown_as_docker_does() {
        let all = "80/tcp -> 0.0.0.0:8080\n80/tcp -> 127.0.0.1:9090\n\
                   53/udp -> 0.0.0.0:53\n";
        assert_eq!(port(None).text(&ports()).unwrap(), all);
        let of_80 = "0.0.0.0:8080\n127.0.0.1:9090\n";
        assert_eq!(port(Some("80")).text(&ports()).unwrap(), of_80);
        let of_53 = port(Some("53/udp")).text(&ports()).unwrap();
        assert_eq!(of_53, "0.0.0.0:53\n");
        let told = port(Some("53")).text(&ports()).unwrap_err().to_string();
        assert!(told.starts_with("container web does not publish its port 53/tcp"));
        assert_eq!(port(None).text(&[]).unwrap(), "");
    }

    #[test]
    fn an_invalid_port_is_refused() {
        for text in ["0", "65536", "x", "", "80/sctp", "/udp", "80/"] {
            assert!(text.parse::<GuestPort>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_container_that_has_ended_has_no_ports() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let home = Home { id: Id::new().unwrap(), name: None, state: state.clone() };
        let lock = home.claim(&[]).unwrap();
        home.note_ports(&ports()).unwrap();
        let record = Record {
            id: home.id.clone(),
            name: None,
            image: "busybox".to_owned(),
            image_id: String::new(),
            layers: Vec::new(),
            command: vec!["sh".to_owned()],
            created: 1,
            driver: "overlay".to_owned(),
            environment: Default::default(),
            directory: "/".into(),
            user: None,
            stop_signal: None,
            mounts: Vec::new(),
        };
        record.write(&home).unwrap();
        let act = || {
            let container = home.id.to_string();
            let context = Context { state: state.clone(), undo: &[] };
            Port { container, port: None }.execute(&context)
        };
        act().unwrap();
        drop(lock);
        let told = act().unwrap_err().to_string();
        assert!(told.contains("is not running"), "{told}");
    }
}
