//! Proxies: the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::url::{Url, is_local};

/// The proxy that these environment variables select for a URL, if any.
///
/// This machine is always reached directly. The lower case form of a variable is read
/// if the upper case form is not set.
///
/// # Errors
/// The variable is not a URL of a proxy. The value is not in the error, as it may
/// contain a password.
///
/// # Source
/// The package `golang.org/x/net/http/httpproxy`, whose rules Docker follows
pub(crate) fn proxy(
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<ureq::Proxy>> {
    let read = |name: &str| {
        let value = variable(name).filter(|value| !value.is_empty());
        value.or_else(|| variable(&name.to_ascii_lowercase()))
    };
    let name = if url.is_plain() { "HTTP_PROXY" } else { "HTTPS_PROXY" };
    let Some(value) = read(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    if is_local(url.host()) || excluded(url, &read("NO_PROXY").unwrap_or_default()) {
        return Ok(None);
    }
    let proxy = ureq::Proxy::new(&value).with_context(|| {
        format!("invalid {name}: expected a URL such as http://proxy.example:3128")
    })?;
    Ok(Some(proxy))
}

/// Whether the list of NO_PROXY contains the host.
fn excluded(url: &Url, list: &str) -> bool {
    let host = url.host().to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            let network = network.parse().ok().zip(bits.parse().ok());
            return network.zip(address).is_some_and(|(n, a)| contains(n, a));
        }
        // The port of an IPv6 address follows its brackets.
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name, port.parse().ok())
            }
            _ => (entry.as_str(), None),
        };
        let name = name.trim_matches(['[', ']']);
        let domain = name.trim_start_matches("*.").trim_start_matches('.');
        let below = host
            .strip_suffix(domain)
            .is_some_and(|rest| !domain.is_empty() && rest.ends_with('.'));
        // ".example.org" names only hosts below example.org.
        let same = host == name;
        (same || (below && address.is_none()))
            && port.is_none_or(|port: u16| port == url.port())
    })
}

/// Whether the network, given by its address and its prefix length, contains
/// `address`.
fn contains((network, bits): (IpAddr, u32), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let read = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let url = Url::parse(url).unwrap();
        proxy(&url, read).unwrap().map(|proxy| proxy.host().to_owned())
    }

    #[test]
    fn each_scheme_has_its_own_variable() {
        let variables =
            [("HTTP_PROXY", "http://one:1"), ("https_proxy", "http://two:2")];
        assert_eq!(chosen("http://a/", &variables).as_deref(), Some("one"));
        assert_eq!(chosen("https://a/", &variables).as_deref(), Some("two"));
        assert_eq!(chosen("https://a/", &variables[..1]), None);
        let empty = [("HTTP_PROXY", ""), ("http_proxy", "")];
        assert_eq!(chosen("http://a/", &empty), None);
    }

    #[test]
    fn this_machine_is_reached_directly() {
        for url in ["http://127.0.0.1:5000/", "http://localhost/", "http://[::1]/"] {
            assert_eq!(chosen(url, &[("HTTP_PROXY", "http://one")]), None);
        }
    }

    #[test]
    fn no_proxy_names_hosts_domains_networks_and_ports() {
        for (list, host, direct) in [
            ("*", "a.b", true),
            ("a.b", "a.b", true),
            ("a.b", "x.a.b", true),
            ("a.b", "xa.b", false),
            (".a.b", "x.a.b", true),
            (".a.b", "a.b", false),
            ("*.a.b", "x.a.b", true),
            ("x, A.B", "a.b", true),
            ("a.b:80", "a.b", true),
            ("a.b:81", "a.b", false),
            ("10.0.0.0/8", "10.9.9.9", true),
            ("10.0.0.0/8", "11.9.9.9", false),
            ("0.0.0.0/0", "11.9.9.9", true),
            ("10.1.1.1", "10.1.1.1", true),
            ("1.1.1", "10.1.1.1", false),
            ("fd00::/8", "[fd00::1]", true),
            ("[fd00::1]:80", "[fd00::1]", true),
            ("", "a.b", false),
            (",", "a.b", false),
        ] {
            let variables = [("HTTP_PROXY", "http://one"), ("NO_PROXY", list)];
            let found = chosen(&format!("http://{host}/"), &variables);
            assert_eq!(found.is_none(), direct, "{list} {host}");
        }
    }

    #[test]
    fn a_faulty_proxy_is_named_without_its_password() {
        let read = |name: &str| {
            (name == "HTTP_PROXY").then(|| "ftp://user:secret@x".to_owned())
        };
        let url = Url::parse("http://a/").unwrap();
        let error = format!("{:#}", proxy(&url, read).unwrap_err());
        assert!(error.contains("HTTP_PROXY"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
