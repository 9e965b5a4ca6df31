//! Credential helpers: the programs `docker-credential-NAME`, which keep the secrets of
//! registries.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use common::step::Step;
use serde_json::{Value, json};

use crate::credentials::{Credentials, Secret};

/// The user name that means that the secret is an identity token.
const TOKEN: &str = "<token>";

/// A credential helper.
///
/// # Source
/// The protocol of Docker's credential helpers: the action is the argument, stdin is the
/// server's URL or JSON, stdout is JSON or an error text
#[derive(Debug)]
pub(crate) struct Helper {
    program: String,
}

impl Helper {
    /// The program of this name in the PATH.
    ///
    /// # Errors
    /// The name contains a slash.
    pub(crate) fn new(name: &str) -> Result<Helper> {
        ensure!(
            !name.contains('/'),
            "invalid credential helper \"{}\": expected a name without \"/\"",
            name.escape_debug()
        );
        Ok(Helper { program: format!("docker-credential-{name}") })
    }

    /// The credentials for this server, if the program has any.
    ///
    /// # Errors
    /// The program is missing, or fails.
    pub(crate) fn get(&self, server: &str) -> Result<Option<Credentials>> {
        let out = match self.run("get", server.as_bytes())? {
            Ok(out) => out,
            Err(text) if text.contains("credentials not found") => return Ok(None),
            Err(text) => bail!("{} get: {text}", self.program),
        };
        let value: Value = serde_json::from_slice(&out)
            .with_context(|| format!("{} get: expected JSON", self.program))?;
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let (user, secret) = (text("Username"), text("Secret"));
        ensure!(!user.is_empty(), "{} get: no user name", self.program);
        let secret = match user == TOKEN {
            true => Secret::IdentityToken(secret),
            false => Secret::Password(secret),
        };
        Ok(Some(Credentials { user, secret }))
    }

    /// Store credentials.
    ///
    /// # Errors
    /// The program is missing, or fails.
    pub(crate) fn store(
        &self,
        server: &str,
        credentials: &Credentials,
    ) -> Result<()> {
        let (user, secret) = match &credentials.secret {
            Secret::Password(password) => (credentials.user.as_str(), password),
            Secret::IdentityToken(token) => (TOKEN, token),
        };
        let text =
            json!({ "ServerURL": server, "Username": user, "Secret": secret });
        match self.run("store", text.to_string().as_bytes())? {
            Ok(_) => Ok(()),
            Err(text) => bail!("{} store: {text}", self.program),
        }
    }

    /// Remove credentials.
    ///
    /// # Errors
    /// The program is missing, or fails.
    pub(crate) fn erase(&self, server: &str) -> Result<()> {
        match self.run("erase", server.as_bytes())? {
            Ok(_) => Ok(()),
            Err(text) => bail!("{} erase: {text}", self.program),
        }
    }

    /// Run the program. Returns its output, or the error text if it fails. The program
    /// prints errors on stdout.
    fn run(&self, action: &str, input: &[u8]) -> Result<Result<Vec<u8>, String>> {
        let program = &self.program;
        let mut command = Command::new(program);
        command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Err(e) if e.kind() == ErrorKind::NotFound => bail!(
                "{program} not found: install this credential helper, or remove it from \
                 Docker's config.json (credsStore, credHelpers)"
            ),
            child => child.step(|| format!("execve(2) {program}"))?,
        };
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(input) {
                // The program may end without reading its input. Its exit status tells
                // whether it has failed.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
                written => written.step(|| format!("write(2) to {program}"))?,
            }
        }
        let output =
            child.wait_with_output().step(|| format!("wait(2) {program}"))?;
        if output.status.success() {
            return Ok(Ok(output.stdout));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let text = text.trim().escape_debug().to_string();
        Ok(Err(if text.is_empty() { output.status.to_string() } else { text }))
    }
}
