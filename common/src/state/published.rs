//! Published ports: facts in a container's lock file.
//!
//! ```text
//! port tcp 0.0.0.0 8080 80
//! port udp 127.0.0.1 5353 53
//! ```
//!
//! The supervisor of the container holds each port by a bound socket. The kernel
//! closes the socket when that process ends, so nothing must be undone.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::Result;

use crate::state::home::Home;
use crate::state::notes::{Notes, PORT};

/// A transport protocol with ports, and its number in the kernel.
///
/// # Source
/// include/uapi/linux/in.h, "`IPPROTO_TCP`"
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// tcp(7)
    Tcp = 6,
    /// udp(7)
    Udp = 17,
}

impl Protocol {
    /// As text: `tcp` or `udp`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// The number of the protocol in an IP header.
    ///
    /// # Source
    /// RFC 1700, "PROTOCOL NUMBERS"; /etc/protocols
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// The protocol with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp].into_iter().find(|it| it.as_str() == name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port of the host that is forwarded to a port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The protocol of both ports.
    pub protocol: Protocol,
    /// The host's address; `None` means all IPv4 addresses of the host.
    pub address: Option<Ipv4Addr>,
    /// The host's port. 0 means any port, until the kernel has chosen one.
    pub host: u16,
    /// The container's port.
    pub guest: u16,
}

/// The value of a note which means that all ports of earlier notes were released.
const RELEASED: &[u8] = b"none";

impl Published {
    /// The host's address; 0.0.0.0 means all addresses.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The text of a note.
    fn note(&self) -> String {
        let Published { protocol, host, guest, .. } = self;
        format!("{protocol} {} {host} {guest}", self.address())
    }

    fn noted(note: &[u8]) -> Option<Published> {
        let mut words = str::from_utf8(note).ok()?.split(' ');
        let protocol = Protocol::named(words.next()?)?;
        let address: Ipv4Addr = words.next()?.parse().ok()?;
        let address = (!address.is_unspecified()).then_some(address);
        let [host, guest] = [words.next()?, words.next()?];
        let [host, guest] = [host.parse().ok()?, guest.parse().ok()?];
        Some(Published { protocol, address, host, guest })
    }
}

/// As `docker ps` shows it: `0.0.0.0:8080->80/tcp`.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Published { protocol, host, guest, .. } = self;
        write!(f, "{}:{host}->{guest}/{protocol}", self.address())
    }
}

impl Notes {
    /// The published ports, in the order in which they were written, without those
    /// that were released later.
    pub fn ports(&self) -> impl Iterator<Item = Published> {
        let notes: Vec<&[u8]> = self.of(PORT).collect();
        let given_back = notes.iter().rposition(|note| *note == RELEASED);
        let first = given_back.map_or(0, |last| last + 1);
        notes.into_iter().skip(first).filter_map(Published::noted)
    }
}

impl Home {
    /// Note published ports, by one write(2). The host ports must be known.
    ///
    /// # Errors
    /// open(2) or write(2) fails.
    pub fn note_ports(&self, ports: &[Published]) -> Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        let notes: Vec<String> = ports.iter().map(Published::note).collect();
        let notes: Vec<&[u8]> = notes.iter().map(String::as_bytes).collect();
        self.note_all(PORT, &notes)
    }

    /// Note that all published ports were released.
    ///
    /// # Errors
    /// open(2) or write(2) fails.
    pub fn note_ports_released(&self) -> Result<()> {
        self.note(PORT, RELEASED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Id, State};

    #[test]
    fn published_ports_are_noted_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let home = Home { id: Id::new().unwrap(), name: None, state };
        let _lock = home.lock().unwrap();
        let web = Published {
            protocol: Protocol::Tcp,
            address: None,
            host: 8080,
            guest: 80,
        };
        let dns = Published {
            protocol: Protocol::Udp,
            address: Some(Ipv4Addr::LOCALHOST),
            host: 5353,
            guest: 53,
        };
        home.note_ports(&[]).unwrap();
        home.note_ports(&[web, dns]).unwrap();
        let notes = home.notes().unwrap();
        assert_eq!(notes.ports().collect::<Vec<_>>(), [web, dns]);
        let values: Vec<&[u8]> = notes.of("port").collect();
        assert_eq!(values, [&b"tcp 0.0.0.0 8080 80"[..], b"udp 127.0.0.1 5353 53"]);
        assert!(notes.kinds().is_empty(), "there is nothing to undo");
        assert_eq!(web.to_string(), "0.0.0.0:8080->80/tcp");
        assert_eq!(dns.to_string(), "127.0.0.1:5353->53/udp");
        home.note_ports_released().unwrap();
        assert_eq!(home.notes().unwrap().ports().count(), 0);
        home.note_ports(&[dns]).unwrap();
        assert_eq!(home.notes().unwrap().ports().collect::<Vec<_>>(), [dns]);
    }

    #[test]
    fn a_damaged_note_of_a_port_is_skipped() {
        let notes =
            ["sctp 0.0.0.0 1 2", "tcp 0.0.0.0 70000 2", "tcp x 1 2", "tcp", ""];
        let text = notes.map(|note| format!("port {note}\n")).concat();
        let text = format!("format 1 x\n{text}port tcp 0.0.0.0 1 2\n");
        assert_eq!(Notes::from(text.into_bytes()).ports().count(), 1);
    }
}
