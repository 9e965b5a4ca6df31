//! Registries: the hosts at the beginning of image names.

use std::net::Ipv6Addr;

use anyhow::{Result, ensure};

/// Docker Hub, the registry of a name that has none.
pub const HUB: &str = "docker.io";

// ANCHOR: registry
/// The registry that the first part of a name stands for; `None` if the part is not
/// a host.
///
/// # Errors
/// The part looks like a host, but is not a valid one.
pub fn registry(first: &str) -> Result<Option<&str>> {
    if !is_host(first) {
        return Ok(None);
    }
    check_host(first)?;
    Ok(Some(match first {
        "index.docker.io" | "registry-1.docker.io" => HUB,
        other => other,
    }))
}

/// Whether the first part of a name is a host: only a host has a dot, a port or upper
/// case letters. `localhost` is a host, too.
fn is_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.contains(|c: char| c.is_ascii_uppercase())
}
// ANCHOR_END: registry

/// The host at the beginning of a name, and the rest of the name.
pub(super) fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (Some(first), rest),
        _ => (None, name),
    }
}

fn check_host(registry: &str) -> Result<()> {
    // An IPv6 address is in brackets.
    let (host, port) = match registry.rfind(']') {
        Some(end) if registry.starts_with('[') => registry.split_at(end + 1),
        _ => registry.split_at(registry.find(':').unwrap_or(registry.len())),
    };
    if let Some(port) = port.strip_prefix(':') {
        let valid = port.parse::<u16>().is_ok_and(|port| port > 0);
        ensure!(
            valid && port.bytes().all(|byte| byte.is_ascii_digit()),
            "invalid registry {registry:?}: the port must be from 1 to 65535"
        );
    }
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    ensure!(
        valid && (port.is_empty() || port.starts_with(':')),
        "invalid registry {registry:?}: expected HOST or HOST:PORT"
    );
    Ok(())
}

/// A part of a domain name: letters, digits and dashes, with no dash at the ends.
fn is_label(label: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !label.is_empty()
        && label.chars().all(known)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_dot_a_port_or_upper_case_letters() {
        for (first, expected) in [
            ("localhost", Some("localhost")),
            ("localhost:5000", Some("localhost:5000")),
            ("ghcr.io", Some("ghcr.io")),
            ("HOST", Some("HOST")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("[::1]", Some("[::1]")),
            ("docker.io", Some(HUB)),
            ("index.docker.io", Some(HUB)),
            ("registry-1.docker.io", Some(HUB)),
            ("library", None),
            ("", None),
        ] {
            assert_eq!(registry(first).unwrap(), expected, "{first}");
        }
    }

    #[test]
    fn an_invalid_host_is_named() {
        for (first, fault) in [
            ("..", "expected HOST"),
            ("-x.y", "expected HOST"),
            ("x-.y", "expected HOST"),
            ("a_b.c", "expected HOST"),
            ("[::1", "the port must be"),
            ("[::1]x:1", "expected HOST"),
            ("[1.2]:1", "expected HOST"),
            ("h:", "the port must be"),
            ("h:0", "the port must be"),
            ("h:+1", "the port must be"),
            ("h:65536", "the port must be"),
            ("h:port", "the port must be"),
        ] {
            let error = registry(first).unwrap_err().to_string();
            let named = format!("invalid registry {first:?}");
            assert!(error.contains(&named), "{first}: {error}");
            assert!(error.contains(fault), "{first}: {error}");
        }
    }
}
