//! The settings of the registry client.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::failure::Backoff;
use crate::url::Url;

/// The environment variable for `--registry-mirror`.
const MIRROR: &str = "MYDOCKER_REGISTRY_MIRROR";

/// The flags of every command that connects to a registry.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct ConnectionFlags {
    /// Use http, without encryption, for every registry
    ///
    /// Without this flag, http is used only for a registry on this machine (localhost,
    /// 127.0.0.0/8, ::1).
    #[arg(long)]
    plain_http: bool,

    /// Directory with certificate authorities to trust (*.crt), for example /etc/my-ca
    ///
    /// The program trusts them in addition to the system's authorities. With this flag,
    /// it uses https for a registry on this machine, too. Without this flag,
    /// /etc/docker/certs.d/HOST:PORT is read. SSL_CERT_FILE and SSL_CERT_DIR replace
    /// the system's authorities.
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
}

/// The flags of every command that reads images.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
#[allow(rustdoc::bare_urls, reason = "`--help` shows the same text")]
pub struct Flags {
    #[command(flatten)]
    connection: ConnectionFlags,

    /// Ask this registry for images of Docker Hub first, for example
    /// https://mirror.example
    ///
    /// MYDOCKER_REGISTRY_MIRROR does the same. No credentials are sent to a mirror.
    #[arg(long, value_name = "URL")]
    registry_mirror: Option<String>,
}

/// The settings of a client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether http is allowed for every host.
    pub plain_http: bool,
    /// The directory with authorities of the user.
    pub cert_dir: Option<PathBuf>,
    /// The registry that is asked first for images of Docker Hub.
    pub mirror: Option<Url>,
    /// The timeout of a connection that transfers nothing.
    pub idle: Duration,
    /// The pauses between attempts.
    pub backoff: Backoff,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            plain_http: false,
            cert_dir: None,
            mirror: None,
            idle: Duration::from_secs(30),
            backoff: Backoff { first: Duration::from_millis(250) },
        }
    }
}

impl ConnectionFlags {
    /// The settings that these flags select.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            plain_http: self.plain_http,
            cert_dir: self.cert_dir.clone(),
            ..Settings::default()
        }
    }
}

impl Flags {
    /// These flags as arguments of a command line.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let ConnectionFlags { plain_http, cert_dir } = &self.connection;
        let mut words: Vec<OsString> = Vec::new();
        words.extend(plain_http.then(|| "--plain-http".into()));
        for (flag, value) in [
            ("--cert-dir", cert_dir.as_ref().map(|it| it.as_os_str())),
            ("--registry-mirror", self.registry_mirror.as_ref().map(OsStr::new)),
        ] {
            words.extend(
                value.into_iter().flat_map(|it| [flag.into(), it.to_owned()]),
            );
        }
        words
    }

    /// The settings that these flags and the environment select.
    ///
    /// # Errors
    /// The mirror is not a URL.
    pub fn settings(&self) -> Result<Settings> {
        let (name, mirror) = match &self.registry_mirror {
            Some(mirror) => ("--registry-mirror", Some(mirror.clone())),
            None => (MIRROR, std::env::var(MIRROR).ok().filter(|it| !it.is_empty())),
        };
        let mirror = mirror.map(|text| {
            let whole = format!("{}/v2/", text.trim_end_matches('/'));
            Url::parse(&whole).with_context(|| name.to_owned())
        });
        Ok(Settings { mirror: mirror.transpose()?, ..self.connection.settings() })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn flags_convert_to_the_same_words() {
        let all =
            ["x", "--plain-http", "--cert-dir", "/a b", "--registry-mirror", "m"];
        let line = Line::try_parse_from(all).unwrap();
        assert_eq!(line.flags.words(), all[1..]);
        assert!(Flags::default().words().is_empty());
    }
}
