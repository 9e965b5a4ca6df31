//! `/etc/resolv.conf` of a container, with those servers of the host that the
//! container can reach.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use common::step::{self, Step};

use crate::flags::Domain;

/// The address of systemd-resolved on the host.
const STUB: &str = "127.0.0.53";

/// The file in which systemd-resolved lists its upstream servers.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

// ANCHOR: of_host
/// The file for a container with its own network namespace. A server with a loopback
/// address is left out: in the container, this address is the container itself.
///
/// # Errors
/// The host's file cannot be read.
/// # Source
/// resolv.conf(5); systemd-resolved.service(8), "/etc/resolv.conf"
pub(crate) fn for_network(servers: &[IpAddr], domains: &[Domain]) -> Result<String> {
    let mut text = read(Path::new("/etc/resolv.conf"))?;
    if nameservers(&text).eq([STUB]) {
        text = read(Path::new(RESOLVED))?;
    }
    Ok(resolv_conf(&text, servers, domains))
}
// ANCHOR_END: of_host

/// Print a warning if the file of a container with a network has no server, but the
/// host's file has one.
///
/// # Errors
/// The host's file cannot be read.
pub(crate) fn warn_without_server(text: &str) -> Result<()> {
    let host = read(Path::new("/etc/resolv.conf"))?;
    if nameservers(text).next().is_none() && nameservers(&host).next().is_some() {
        step::warn(
            "the DNS servers of the host have loopback addresses, which a container cannot \
             reach: add --dns ADDRESS",
        );
    }
    Ok(())
}

/// The host's file, with the servers and domains of the user.
///
/// # Errors
/// The host's file cannot be read.
pub(crate) fn for_host(servers: &[IpAddr], domains: &[Domain]) -> Result<String> {
    let text = read(Path::new("/etc/resolv.conf"))?;
    if servers.is_empty() && domains.is_empty() {
        return Ok(text);
    }
    Ok(resolv_conf(&text, servers, domains))
}

fn resolv_conf(host: &str, servers: &[IpAddr], domains: &[Domain]) -> String {
    let mut text = String::new();
    for line in host.lines() {
        let mut words = line.split_whitespace();
        let keep = match words.next() {
            Some("nameserver") => {
                servers.is_empty() && words.next().is_some_and(reachable)
            }
            Some("search" | "domain") => domains.is_empty(),
            _ => true,
        };
        if keep {
            text += line;
            text.push('\n');
        }
    }
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    let names: Vec<&str> = domains.iter().map(|domain| domain.0.as_str()).collect();
    if !names.is_empty() && names != ["."] {
        text += &format!("search {}\n", names.join(" "));
    }
    text
}

fn nameservers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver").and(words.next())
    })
}

/// Whether the address means the same host in the container. A link-local IPv6
/// address needs a device of the host.
fn reachable(word: &str) -> bool {
    word.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback())
}

fn read(path: &Path) -> Result<String> {
    match fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => {
            let text = text.untraced(|| format!("read(2) {}", path.display()))?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# comment\nsearch lan\nnameserver 127.0.0.1\n\
                        nameserver 10.0.0.1\noptions ndots:2\nnameserver ::1\n";

    #[test]
    fn loopback_servers_are_left_out() {
        let text = resolv_conf(HOST, &[], &[]);
        let expected =
            "# comment\nsearch lan\nnameserver 10.0.0.1\noptions ndots:2\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn dns_options_replace_the_servers_and_domains_of_the_host() {
        let servers = ["9.9.9.9".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let domains = [Domain("a.example".into()), Domain("b.example".into())];
        let text = resolv_conf(HOST, &servers, &domains);
        let expected = "# comment\noptions ndots:2\nnameserver 9.9.9.9\n\
                        nameserver 127.0.0.1\nsearch a.example b.example\n";
        assert_eq!(text, expected);
        let text = resolv_conf(HOST, &[], &[Domain(".".into())]);
        assert!(!text.contains("search"), "{text}");
    }
}
