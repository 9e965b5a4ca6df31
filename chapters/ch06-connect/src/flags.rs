//! The options of `run` for a container's network.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use clap::Args;
use common::state::Name;

use crate::{Mac, Mode};

/// Flags of this part.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Connect the container to a network
    ///
    /// NETWORK is the name of a network (`network create`), "none" or "host". "none"
    /// is a network namespace with only the loopback device. "host" is the network
    /// namespace of the host. [default: a network namespace in which no device is
    /// up]
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK")]
    pub network: Option<Mode>,

    /// IPv4 address of the container [default: the next free address]
    #[arg(long = "ip", value_name = "ADDRESS")]
    pub address: Option<Ipv4Addr>,

    /// MAC address of the container's device, for example 02:42:c0:a8:0a:02
    /// [default: 02:42 and the four bytes of the IPv4 address]
    #[arg(long = "mac-address", value_name = "MAC")]
    pub mac: Option<Mac>,

    /// DNS server for /etc/resolv.conf; repeat the option for more servers [default:
    /// the host's servers]
    #[arg(long = "dns", value_name = "ADDRESS")]
    pub dns: Vec<IpAddr>,

    /// Search domain for /etc/resolv.conf; repeat the option for more domains; "."
    /// means no search domain [default: the host's domains]
    #[arg(long = "dns-search", value_name = "DOMAIN")]
    pub dns_search: Vec<Domain>,

    /// Add a line to /etc/hosts, for example db:10.0.0.7; repeat the option for more
    /// lines
    ///
    /// The address "host-gateway" means the address of the host on the network.
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub hosts: Vec<HostEntry>,

    /// Leave other firewalls of the host unchanged; print the commands to open them
    #[arg(long = "no-firewall")]
    pub no_firewall: bool,
}

impl Flags {
    /// Check that the options can be combined.
    ///
    /// # Errors
    /// An option requires `--network NETWORK`, which is missing.
    pub fn check(&self) -> Result<()> {
        let named = matches!(self.network, Some(Mode::Network(_)));
        for (given, option) in [
            (self.address.is_some(), "--ip"),
            (self.mac.is_some(), "--mac-address"),
            (self.no_firewall, "--no-firewall"),
        ] {
            if given && !named {
                bail!(
                    "{option} needs a network that `network create` made: add \
                     --network NETWORK"
                );
            }
        }
        Ok(())
    }
}

/// A search domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(pub String);

impl FromStr for Domain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Domain> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if text.is_empty() || !text.chars().all(plain) {
            bail!(
                "invalid domain {text:?}: expected a name, for example example.com"
            );
        }
        Ok(Domain(text.to_owned()))
    }
}

/// A line of /etc/hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// The name.
    pub name: Name,
    /// The address; `None` for "host-gateway".
    pub address: Option<IpAddr>,
}

impl FromStr for HostEntry {
    type Err = Error;

    fn from_str(text: &str) -> Result<HostEntry> {
        let (name, address) = text.split_once(':').with_context(|| {
            format!("invalid entry {text:?}: expected NAME:ADDRESS, for example db:10.0.0.7")
        })?;
        let name = name.parse()?;
        if address == "host-gateway" {
            return Ok(HostEntry { name, address: None });
        }
        // An IPv6 address may be in brackets, as in a URL.
        let plain = address.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let plain = plain.unwrap_or(address);
        let parsed = plain.parse().ok();
        let parsed = parsed.with_context(|| {
            format!(
                "invalid address {address:?} of {name}: expected an IP address or \
                 host-gateway"
            )
        })?;
        Ok(HostEntry { name, address: Some(parsed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_hosts_are_read() {
        let entry: HostEntry = "db:10.0.0.7".parse().unwrap();
        assert_eq!(entry.address, Some(Ipv4Addr::new(10, 0, 0, 7).into()));
        let entry: HostEntry = "host.internal:host-gateway".parse().unwrap();
        assert_eq!((entry.name.as_str(), entry.address), ("host.internal", None));
        for six in ["six:::1", "six:[::1]"] {
            let entry: HostEntry = six.parse().unwrap();
            assert_eq!(entry.address, Some("::1".parse().unwrap()), "{six}");
        }
        for bad in ["", "db", "db:", ":10.0.0.7", "db:10.0.0", "a b:10.0.0.7"] {
            assert!(bad.parse::<HostEntry>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_is_one_word() {
        assert!("example.com".parse::<Domain>().is_ok());
        assert!(".".parse::<Domain>().is_ok());
        assert!("a b".parse::<Domain>().is_err());
        assert!("a\nnameserver".parse::<Domain>().is_err());
    }

    #[test]
    fn an_option_without_its_network_is_refused() {
        let address = Some(Ipv4Addr::new(10, 0, 0, 2));
        let alone = Flags { address, ..Flags::default() };
        let error = alone.check().unwrap_err().to_string();
        assert!(error.contains("--ip"), "{error}");
        let network = Some(Mode::Network("one".parse().unwrap()));
        Flags { network, ..alone }.check().unwrap();
    }
}
