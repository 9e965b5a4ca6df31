//! The value of `-p`: `[ADDRESS:]HOST:GUEST[/udp]`, and its shorter forms.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};
use clap::Args;
use common::state::{Protocol, Published};

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Publish a port of the container on the host, for example 8080:80; repeat the
    /// option for more ports
    ///
    /// 8080:80 forwards port 8080 of the host, on all its IPv4 addresses, to port 80
    /// of the container. 127.0.0.1:8080:80 publishes the port on one address only.
    /// 80 and 127.0.0.1::80 choose a free port of the host; the command `port` shows
    /// it. 8080:53/udp publishes a UDP port. 8000-8010:80-90 publishes a range; both
    /// ranges must have the same length.
    #[arg(
        short = 'p',
        long = "publish",
        value_name = "[[ADDRESS:]HOST:]GUEST[/udp]"
    )]
    pub publish: Vec<Publish>,

    /// Publish each port that the image declares on a free port of the host
    ///
    /// The command `port` shows the ports. A port that --publish also names is
    /// published only once.
    #[arg(short = 'P', long)]
    pub publish_all: bool,
}

impl Flags {
    /// The list of single ports. The host port 0 means any free port. `declared` are
    /// the ports of the image, such as `80/tcp`, that `--publish-all` publishes.
    ///
    /// # Errors
    /// Two ports request the same port of the host; the image declares an invalid
    /// port.
    pub fn ports(&self, declared: &[String]) -> Result<Vec<Published>> {
        let mut ports: Vec<Published> =
            self.publish.iter().flat_map(Publish::ports).collect();
        for text in declared {
            let more: Publish = text.parse().with_context(|| {
                format!("the image declares the invalid port {text:?}")
            })?;
            let is_new = |port: &Published| {
                let same = |it: &Published| {
                    (it.protocol, it.guest) == (port.protocol, port.guest)
                };
                !ports.iter().any(same)
            };
            let more: Vec<Published> = more.ports().filter(is_new).collect();
            ports.extend(more);
        }
        let mut uses: BTreeMap<_, Vec<Published>> = BTreeMap::new();
        for port in ports.iter().filter(|port| port.host != 0) {
            let others = uses.entry((port.protocol, port.host)).or_default();
            if let Some(other) = others.iter().find(|it| same_address(it, port)) {
                bail!(
                    "the host port {}/{} is published twice, as {other} and as {port}: \
                     choose another host port for one of them",
                    port.host,
                    port.protocol
                );
            }
            others.push(*port);
        }
        Ok(ports)
    }
}

/// Whether the two have an address of the host in common.
fn same_address(one: &Published, other: &Published) -> bool {
    match (one.address, other.address) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

type Ports = RangeInclusive<u16>;

/// The value of one `-p`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    protocol: Protocol,
    address: Option<Ipv4Addr>,
    /// The same number as the container's ports. `None` means any free ports.
    host: Option<Ports>,
    guest: Ports,
}

impl Publish {
    /// The list of single ports.
    fn ports(&self) -> impl Iterator<Item = Published> {
        let &Publish { protocol, address, .. } = self;
        let mut host = self.host.clone();
        self.guest.clone().map(move |guest| {
            let host = host.as_mut().and_then(Iterator::next).unwrap_or(0);
            Published { protocol, address, host, guest }
        })
    }
}

impl FromStr for Publish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Publish> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, name)) => (ports, protocol(name)?),
            None => (text, Protocol::Tcp),
        };
        let words: Vec<&str> = ports.split(':').collect();
        let (address, host, guest) = match words[..] {
            _ if ports.contains('[') => bail!(IPV4_ONLY),
            [guest] => (None, None, guest),
            ["", guest] => {
                bail!("the host port is missing: to get a free port, write {guest}")
            }
            [host, guest] if host.parse::<Ipv4Addr>().is_ok() => bail!(
                "the host port is missing: write {host}:PORT:{guest}, or \
                 {host}::{guest} to get a free port"
            ),
            [host, guest] => (None, Some(host), guest),
            ["", "", guest] => {
                bail!("the host port is missing: to get a free port, write {guest}")
            }
            ["", host, guest] => {
                bail!(
                    "the address is missing: to publish on all IPv4 addresses, write \
                     {host}:{guest}"
                )
            }
            [text, "", guest] => (address(text)?, None, guest),
            [text, host, guest] => (address(text)?, Some(host), guest),
            _ => bail!(IPV4_ONLY),
        };
        ensure!(
            !guest.is_empty(),
            "the container's port is missing: write HOST:GUEST, for example 8080:80"
        );
        let guest = range(guest, "the container's port")?;
        let host = host.map(|host| range(host, "the host port")).transpose()?;
        if let Some(host) = &host
            && host.len() != guest.len()
        {
            bail!(
                "{} host ports do not match {} ports of the container: write ranges of \
                 equal length, for example 8000-8010:80-90",
                host.len(),
                guest.len()
            );
        }
        Ok(Publish { protocol, address, host, guest })
    }
}

const IPV4_ONLY: &str = "published ports are IPv4 only: write an IPv4 address, or leave \
    the address out to publish on all IPv4 addresses of the host";

fn protocol(name: &str) -> Result<Protocol> {
    Protocol::named(&name.to_ascii_lowercase())
        .with_context(|| format!("unknown protocol {name:?}: use /tcp or /udp"))
}

/// Parse an address of the host; `None` means all addresses. bind(2) checks later
/// whether the host has this address.
fn address(text: &str) -> Result<Option<Ipv4Addr>> {
    let address: Ipv4Addr = text.parse().ok().with_context(|| {
        format!(
            "{text:?} is not an IPv4 address: write an address of this host, for \
             example 127.0.0.1, or leave it out to publish on all IPv4 addresses"
        )
    })?;
    ensure!(
        !address.is_multicast() && !address.is_broadcast(),
        "{address} is a multicast or broadcast address: write an address of this host"
    );
    Ok(Some(address).filter(|address| !address.is_unspecified()))
}

/// Parse `80` or `80-90`.
fn range(text: &str, what: &str) -> Result<Ports> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let [first, last] = [number(first, what)?, number(last, what)?];
    ensure!(
        first <= last,
        "invalid range {text} of {what}: the first port must not be higher than the \
         last one, write {last}-{first}"
    );
    Ok(first..=last)
}

fn number(text: &str, what: &str) -> Result<u16> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    ensure!(digits, "{what} {text:?} is not a number: expected 1 to 65535");
    match text.parse() {
        Ok(0) if what == "the host port" => {
            bail!(
                "{what} must be from 1 to 65535, not 0: to get a free port, leave it out"
            )
        }
        Ok(0) | Err(_) => bail!("{what} must be from 1 to 65535, not {text}"),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> Result<Vec<String>> {
        let publish: Result<Vec<Publish>> =
            words.iter().map(|word| word.parse()).collect();
        let ports = Flags { publish: publish?, publish_all: false }.ports(&[])?;
        Ok(ports.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn declared_ports_are_published_once() {
        let publish = vec!["8080:80".parse().unwrap()];
        let flags = Flags { publish, publish_all: true };
        let declared = ["80/tcp", "80/udp", "90-91", "91/tcp"].map(str::to_owned);
        let ports = flags.ports(&declared).unwrap();
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let free =
            ["80/udp", "90/tcp", "91/tcp"].map(|it| format!("0.0.0.0:0->{it}"));
        assert_eq!(ports[0], "0.0.0.0:8080->80/tcp");
        assert_eq!(ports[1..], free);
        let error = flags.ports(&["http".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "the image declares the invalid port \"http\"");
    }

    #[test]
    fn every_form_is_read() {
        for (text, ports) in [
            ("8080:80", &["0.0.0.0:8080->80/tcp"][..]),
            ("8080:80/tcp", &["0.0.0.0:8080->80/tcp"]),
            ("8080:80/TCP", &["0.0.0.0:8080->80/tcp"]),
            ("53:53/udp", &["0.0.0.0:53->53/udp"]),
            ("127.0.0.1:8080:80", &["127.0.0.1:8080->80/tcp"]),
            ("0.0.0.0:8080:80", &["0.0.0.0:8080->80/tcp"]),
            ("127.0.0.1::80", &["127.0.0.1:0->80/tcp"]),
            ("80", &["0.0.0.0:0->80/tcp"]),
            ("80-81/udp", &["0.0.0.0:0->80/udp", "0.0.0.0:0->81/udp"]),
            (
                "8000-8002:80-82",
                &[
                    "0.0.0.0:8000->80/tcp",
                    "0.0.0.0:8001->81/tcp",
                    "0.0.0.0:8002->82/tcp",
                ],
            ),
            ("65535:65535", &["0.0.0.0:65535->65535/tcp"]),
            ("8080-8080:080", &["0.0.0.0:8080->80/tcp"]),
        ] {
            assert_eq!(shown(&[text]).unwrap(), ports, "{text}");
        }
        assert_eq!(shown(&["1-65535:1-65535"]).unwrap().len(), 65535);
    }

    #[test]
    fn every_error_says_what_to_write_instead() {
        for (text, error) in [
            (
                "0:80",
                "must be from 1 to 65535, not 0: to get a free port, leave it out",
            ),
            ("8080:0", "the container's port must be from 1 to 65535, not 0"),
            ("65536:80", "the host port must be from 1 to 65535, not 65536"),
            ("8080:99999999999", "must be from 1 to 65535, not 99999999999"),
            ("8080:http", "\"http\" is not a number: expected 1 to 65535"),
            ("+80:80", "\"+80\" is not a number"),
            ("-80:80", "the host port \"\" is not a number"),
            ("80-:80", "the host port \"\" is not a number"),
            ("8010-8000:80-90", "the last one, write 8000-8010"),
            ("8000-8010:80-89", "11 host ports do not match 10 ports"),
            ("8000-8010:80", "write ranges of equal length"),
            ("8080:80/sctp", "unknown protocol \"sctp\": use /tcp or /udp"),
            ("8080:80/", "unknown protocol \"\""),
            ("8080:80/tcp/udp", "unknown protocol \"tcp/udp\""),
            ("[::1]:8080:80", "published ports are IPv4 only"),
            ("::1:8080:80", "published ports are IPv4 only"),
            ("fe80::1:8080:80", "published ports are IPv4 only"),
            ("localhost:8080:80", "\"localhost\" is not an IPv4 address"),
            ("1.2.3:8080:80", "\"1.2.3\" is not an IPv4 address"),
            ("224.0.0.1:8080:80", "is a multicast or broadcast address"),
            ("255.255.255.255:8080:80", "is a multicast or broadcast address"),
            (
                "127.0.0.1:80",
                "write 127.0.0.1:PORT:80, or 127.0.0.1::80 to get a free port",
            ),
            (":80", "to get a free port, write 80"),
            ("::80", "to get a free port, write 80"),
            (":8080:80", "on all IPv4 addresses, write 8080:80"),
            ("8080:", "the container's port is missing"),
            ("", "the container's port is missing"),
            ("/udp", "the container's port is missing"),
        ] {
            let told = shown(&[text]).unwrap_err().to_string();
            assert!(told.contains(error), "{text}: {told}");
        }
    }

    #[test]
    fn a_host_port_has_one_use_per_address_and_protocol() {
        for words in [
            &["8080:80", "8080:81"][..],
            &["8080:80", "127.0.0.1:8080:80"],
            &["127.0.0.1:8080:80", "127.0.0.1:8080:81"],
            &["8000-8010:80-90", "8010:80"],
        ] {
            let told = shown(words).unwrap_err().to_string();
            assert!(
                told.contains("is published twice, as 0.0.0.0:80")
                    || told.contains("as 127.0.0.1:8080->80/tcp and"),
                "{told}"
            );
            assert!(told.contains("another host port"), "{told}");
        }
        for words in [
            &["8080:80", "8080:80/udp"][..],
            &["127.0.0.1:8080:80", "127.0.0.2:8080:80"],
            &["80", "80"],
            &["8080:80", "8081:80"],
        ] {
            assert_eq!(shown(words).unwrap().len(), 2, "{words:?}");
        }
    }
}
