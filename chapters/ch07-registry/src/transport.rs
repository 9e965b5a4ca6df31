//! HTTP requests: which URLs are allowed, redirects, timeouts.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Error, Result, anyhow, bail};
use ureq::config::AutoHeaderValue;
use ureq::http::header::{AUTHORIZATION, LOCATION};
use ureq::http::{self, HeaderName, Method};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

use crate::failure::Failure;
use crate::proxy::proxy;
use crate::roots::Directories;
use crate::settings::Settings;
use crate::url::Url;

/// The maximum number of redirects that are followed.
const REDIRECTS: usize = 5;

/// A response whose body has not been read yet.
pub type Response = http::Response<Body>;

/// A request without its body.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, HEAD, POST, PATCH, PUT.
    pub method: Method,
    /// The URL.
    pub url: Url,
    /// The fields of its header.
    pub headers: Vec<(HeaderName, String)>,
}

impl Request {
    /// A request without fields.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Request {
        Request { method, url, headers: Vec::new() }
    }

    /// Add a field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Request {
        self.headers.push((name, value.into()));
        self
    }
}

/// A GET with a list of accepted media types.
#[must_use]
pub fn get(url: Url, accept: &[&str]) -> Request {
    let request = Request::new(Method::GET, url);
    match accept.is_empty() {
        true => request,
        false => request.with(http::header::ACCEPT, accept.join(", ")),
    }
}

/// The body of a request.
pub enum Content<'a> {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(&'a [u8]),
    /// The bytes of this reader. The header of the request states their number.
    Stream(&'a mut (dyn Read + 'a)),
}

/// Connections to servers. Threads share it.
#[derive(Debug)]
pub struct Transport {
    plain: bool,
    directories: Directories,
    idle: Duration,
    /// One for each server, as each has its own proxy and its own authorities.
    agents: Mutex<HashMap<String, Agent>>,
}

impl Transport {
    /// A transport without connections: the first request makes one.
    #[must_use]
    pub fn new(settings: &Settings) -> Transport {
        Transport {
            plain: settings.plain_http,
            directories: Directories { flag: settings.cert_dir.clone() },
            idle: settings.idle,
            agents: Mutex::default(),
        }
    }

    /// The URL at which the API of a registry begins.
    ///
    /// A registry on this machine is reached by http, unless an authority is configured
    /// for it. Every other registry is reached by https, unless the user allows http.
    ///
    /// # Errors
    /// The name is not a host.
    pub fn base(&self, registry: &str) -> Result<Url> {
        let https = Url::of_registry(registry, false)?;
        let local = https.is_local() && !self.directories.has(registry);
        Url::of_registry(registry, self.plain || local)
    }

    // ANCHOR: send
    /// Send a request, and follow the redirects of a GET or a HEAD.
    ///
    /// The field Authorization is sent only to the first server.
    ///
    /// # Errors
    /// No connection; a timeout; a redirect from https to http; too many redirects.
    pub fn send(
        &self,
        request: &Request,
        content: Content,
    ) -> Result<Response, Failure> {
        let mut request = request.clone();
        let mut content = Some(content);
        for _ in 0..=REDIRECTS {
            let body = content.take().unwrap_or(Content::Empty);
            let response = self.send_once(&request, body)?;
            let follows = matches!(request.method, Method::GET | Method::HEAD);
            if !response.status().is_redirection() || !follows {
                return Ok(response);
            }
            let Some(location) = response.headers().get(LOCATION) else {
                return Ok(response);
            };
            let location = String::from_utf8_lossy(location.as_bytes());
            let next = request.url.join(&location)?;
            if next.is_plain() && !request.url.is_plain() && !self.plain {
                return Err(refuse_plain(&request.url, &next).into());
            }
            if !request.url.same_server(&next) {
                request.headers.retain(|(name, _)| *name != AUTHORIZATION);
            }
            request.url = next;
        }
        Err(anyhow!("{}: more than {REDIRECTS} redirects", request.url).into())
    }
    // ANCHOR_END: send

    fn send_once(
        &self,
        request: &Request,
        content: Content,
    ) -> Result<Response, Failure> {
        self.check(&request.url)?;
        let agent = self.agent(&request.url)?;
        let mut built =
            http::Request::builder().method(&request.method).uri(request.url.uri());
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        let body = match content {
            Content::Empty => SendBody::none(),
            Content::Bytes(bytes) => {
                built = built.header(http::header::CONTENT_LENGTH, bytes.len());
                SendBody::from_owned_reader(io::Cursor::new(bytes.to_vec()))
            }
            Content::Stream(mut reader) => {
                let built = built.body(SendBody::from_reader(&mut reader));
                let built = built.map_err(Error::from)?;
                return agent.run(built).map_err(|e| explain(request, e));
            }
        };
        let built = built.body(body).map_err(Error::from)?;
        agent.run(built).map_err(|error| explain(request, error))
    }

    /// Refuse a URL that is not encrypted, unless it is on this machine or the user has
    /// asked for http.
    fn check(&self, url: &Url) -> Result<()> {
        if url.is_plain() && !url.is_local() && !self.plain {
            bail!(
                "refused to use {url}: http is not encrypted. Use https, or allow http \
                 with --plain-http"
            );
        }
        Ok(())
    }

    fn agent(&self, url: &Url) -> Result<Agent> {
        let key = format!("{} {}", url.is_plain(), url.authority());
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(
            Arc::new(rustls::crypto::ring::default_provider()),
        );
        if !url.is_plain() {
            let roots = self.directories.certificates(url.authority())?;
            tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy(url, |name| std::env::var(name).ok())?)
            .tls_config(tls.build())
            .user_agent(concat!("mydocker/", env!("CARGO_PKG_VERSION")))
            // The HTTP library must not decompress a layer: its digest is the digest of
            // the compressed bytes.
            .accept_encoding(AutoHeaderValue::None)
            .timeout_resolve(Some(self.idle))
            .timeout_connect(Some(self.idle))
            .timeout_per_read(Some(self.idle))
            .timeout_per_write(Some(self.idle))
            .build()
            .new_agent();
        agents.insert(key, agent.clone());
        Ok(agent)
    }
}

fn refuse_plain(from: &Url, to: &Url) -> Error {
    anyhow!(
        "{from}: refused a redirect to {to}: http is not encrypted. Allow http with \
         --plain-http"
    )
}

/// The error message, and whether the failure is transient or final.
fn explain(request: &Request, error: ureq::Error) -> Failure {
    let url = &request.url;
    let text = format!("{} {url}", request.method);
    let failed = |reason: Error| reason.context(text.clone());
    match error {
        ureq::Error::HostNotFound => Failure::Final(failed(not_found(url))),
        ureq::Error::Io(error) if error.to_string().contains(NO_ADDRESS) => {
            let reason = not_found(url).context(error.to_string());
            Failure::Final(failed(reason))
        }
        ureq::Error::Io(error) if tls_alert(&error) => {
            Failure::Final(failed(tls(url, &error.to_string())))
        }
        ureq::Error::Rustls(error) => {
            Failure::Final(failed(tls(url, &error.to_string())))
        }
        // A server that cannot be reached now is usually not reachable a second later
        // either.
        ureq::Error::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::HostUnreachable
            ) =>
        {
            let reason = anyhow!(
                "no connection to {}: {error}: check that the registry is running, and \
                 the network",
                url.authority()
            );
            Failure::Final(failed(reason))
        }
        ureq::Error::Io(error) => Failure::Transient(failed(error.into()), None),
        ureq::Error::Timeout(_) => {
            let reason = anyhow!("timeout: {} does not answer", url.authority());
            Failure::Transient(failed(reason), None)
        }
        ureq::Error::ConnectProxyFailed(reason) => {
            let reason = reason.escape_debug();
            Failure::Final(failed(anyhow!("the proxy refused: {reason}")))
        }
        ureq::Error::Protocol(error) => {
            let reason = anyhow!("the answer is not HTTP: {error}");
            Failure::Final(failed(reason))
        }
        other => Failure::Final(failed(other.into())),
    }
}

/// The beginning of the standard library's error for getaddrinfo(3), which has no
/// `ErrorKind` of its own.
const NO_ADDRESS: &str = "failed to lookup address information";

fn not_found(url: &Url) -> Error {
    anyhow!(
        "host {} not found: check the name, the network, and the proxy (HTTP_PROXY, \
         HTTPS_PROXY)",
        url.host()
    )
}

/// Whether this socket error contains an error of the TLS handshake.
fn tls_alert(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn tls(url: &Url, reason: &str) -> Error {
    let advice = if reason.contains("UnknownIssuer") {
        format!(
            "the certificate of {} is signed by an unknown authority. Name the \
             directory of the authority's certificate with --cert-dir",
            url.authority()
        )
    } else if reason.contains("InvalidContentType") {
        format!(
            "{} does not speak https. Allow http with --plain-http",
            url.authority()
        )
    } else {
        "the TLS connection failed".to_owned()
    };
    anyhow!("{}", reason.escape_debug()).context(advice)
}
