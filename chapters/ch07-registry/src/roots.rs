//! The certificate authorities that a TLS connection trusts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use common::step::Step;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::Certificate;

/// The directory in which Docker looks for the authorities of a registry: the files
/// `HOST:PORT/*.crt`.
const CERTS_D: &str = "/etc/docker/certs.d";

/// The directories with certificate authorities that the user has added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directories {
    /// The directory of `--cert-dir`. It applies to every registry.
    pub(crate) flag: Option<PathBuf>,
}

impl Directories {
    /// The directory with authorities for this host, if there is one.
    fn for_host(&self, authority: &str) -> Option<PathBuf> {
        let shared = Path::new(CERTS_D).join(authority);
        self.flag.clone().or_else(|| shared.is_dir().then_some(shared))
    }

    /// Whether the user has configured an authority for this host, so that a registry on
    /// this machine is reached by https.
    pub(crate) fn has(&self, authority: &str) -> bool {
        self.for_host(authority).is_some()
    }

    /// The authorities that a connection to this host trusts: those of the system, and
    /// those that are configured for the host.
    ///
    /// If SSL_CERT_FILE (a file) or SSL_CERT_DIR (a directory) is set, its
    /// certificates replace those of the system.
    ///
    /// # Errors
    /// A configured directory cannot be read, or a file in it has no certificate; there
    /// are no certificates at all.
    pub(crate) fn certificates(
        &self,
        authority: &str,
    ) -> Result<Vec<Certificate<'static>>> {
        let found = rustls_native_certs::load_native_certs();
        let mut all: Vec<_> = found
            .certs
            .iter()
            .map(|it| Certificate::from_der(it).to_owned())
            .collect();
        if let Some(directory) = self.for_host(authority) {
            all.extend(read(&directory)?);
        }
        if all.is_empty() {
            let errors = found.errors.first().map(|it| format!(" ({it})"));
            bail!(
                "no certificate authorities were found{}: install the package \
                 ca-certificates, or set SSL_CERT_FILE",
                errors.unwrap_or_default()
            );
        }
        Ok(all)
    }
}

/// The certificates in the files `*.crt` of a directory.
fn read(directory: &Path) -> Result<Vec<Certificate<'static>>> {
    let step = || format!("readdir(3) {}", directory.display());
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).untraced(step)? {
        let path = entry.untraced(step)?.path();
        if path.extension().is_none_or(|extension| extension != "crt") {
            continue;
        }
        let text =
            fs::read(&path).untraced(|| format!("read(2) {}", path.display()))?;
        let before = all.len();
        for found in CertificateDer::pem_slice_iter(&text) {
            let found = found.with_context(|| {
                format!("{} is not a certificate", path.display())
            })?;
            all.push(Certificate::from_der(&found).to_owned());
        }
        if all.len() == before {
            bail!("{} has no certificate: expected PEM", path.display());
        }
    }
    Ok(all)
}
