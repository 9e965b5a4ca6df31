//! The URLs of requests: which host, and whether by https.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail, ensure};
use common::images::HUB;
use ureq::http::Uri;

/// An absolute URL of http or https.
///
/// It is shown without its query, as a query may contain a signature that gives access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// Read a URL.
    ///
    /// # Errors
    /// The URL is not absolute, does not begin with http or https, or contains a
    /// user name.
    pub fn parse(text: &str) -> Result<Url> {
        let shown = text.split('?').next().unwrap_or_default().escape_debug();
        let uri: Uri =
            text.parse().with_context(|| format!("invalid URL \"{shown}\""))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            bail!("invalid URL \"{shown}\": expected http:// or https://");
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        ensure!(
            !authority.contains('@') && uri.host().is_some_and(|it| !it.is_empty()),
            "invalid URL \"{shown}\": expected a host, and no user name"
        );
        Ok(Url(uri))
    }

    /// The URL at which a registry's API begins. `plain` asks for http.
    ///
    /// # Errors
    /// The URL is not absolute, does not begin with http or https, or contains a
    /// user name.
    pub fn of_registry(registry: &str, plain: bool) -> Result<Url> {
        // The host of Docker Hub's API differs from the host in the names of its
        // images.
        let host = if registry == HUB { "registry-1.docker.io" } else { registry };
        let scheme = if plain { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{host}/v2/"))
    }

    /// Resolve a location that may be relative to this URL.
    ///
    /// # Errors
    /// The URL is not absolute, does not begin with http or https, or contains a
    /// user name.
    ///
    /// # Source
    /// RFC 3986, section 5.2, without the removal of "..": a server resolves it
    pub fn join(&self, location: &str) -> Result<Url> {
        let scheme = self.0.scheme_str().unwrap_or("https");
        let authority = self.authority();
        let path = self.0.path();
        let folder = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
        let whole = if location.contains("://") {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else if location.starts_with('?') {
            format!("{scheme}://{authority}{path}{location}")
        } else {
            format!("{scheme}://{authority}{folder}{location}")
        };
        Url::parse(&whole)
    }

    /// The same URL with one more parameter in its query.
    ///
    /// # Errors
    /// The URL is not absolute, does not begin with http or https, or contains a
    /// user name.
    pub fn with_query(&self, key: &str, value: &str) -> Result<Url> {
        use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        let joint = if self.0.query().is_some() { '&' } else { '?' };
        Url::parse(&format!("{}{joint}{key}={value}", self.0))
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// The host without its port, and without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port; if the URL has none, the default port of its scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_plain() { 80 } else { 443 })
    }

    /// Whether requests are not encrypted.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.scheme_str() == Some("http")
    }

    /// Whether the host is this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(self.host())
    }

    /// Whether both URLs belong to the same server, so that the credentials for one
    /// may be sent to the other.
    #[must_use]
    pub fn same_server(&self, other: &Url) -> bool {
        let host = |url: &Url| url.host().to_ascii_lowercase();
        self.is_plain() == other.is_plain()
            && host(self) == host(other)
            && self.port() == other.port()
    }

    /// The URL in the type of the HTTP library.
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

/// Whether this host is this machine: `localhost` or a loopback address.
#[must_use]
pub fn is_local(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| match address {
            IpAddr::V4(address) => Ipv4Addr::is_loopback(&address),
            IpAddr::V6(address) => Ipv6Addr::is_loopback(&address),
        })
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}{}", self.authority(), self.0.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_relative_to_the_request() {
        let base = Url::parse("https://a:1/v2/x/y?q=1").unwrap();
        for (location, wanted) in [
            ("https://b/c?d", "https://b/c?d"),
            ("//b/c", "https://b/c"),
            ("/c?d", "https://a:1/c?d"),
            ("c", "https://a:1/v2/x/c"),
            ("?d", "https://a:1/v2/x/y?d"),
        ] {
            let joined = base.join(location).unwrap();
            assert_eq!(joined.uri().to_string(), wanted);
        }
        for location in ["ftp://b/", "https://user@b/", "https://", "https://a b/"] {
            assert!(base.join(location).is_err(), "{location}");
        }
    }

    #[test]
    fn a_query_is_not_shown() {
        let url = Url::parse("https://a/b?signature=secret").unwrap();
        assert_eq!(url.to_string(), "https://a/b");
        let url = url.with_query("scope", "a:b c").unwrap();
        let whole = "https://a/b?signature=secret&scope=a%3Ab%20c";
        assert_eq!(url.uri().to_string(), whole);
    }

    #[test]
    fn only_loopback_is_local() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["localhost.example.org", "128.0.0.1", "127.0.0.1.nip.io", "::2"]
        {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn a_server_is_its_scheme_host_and_port() {
        let url = |text| Url::parse(text).unwrap();
        let own = url("https://a/x");
        assert!(own.same_server(&url("https://A:443/y")));
        for other in ["http://a/x", "https://a:444/x", "https://b/x"] {
            assert!(!own.same_server(&url(other)), "{other}");
        }
    }
}
