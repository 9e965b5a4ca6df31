//! `login` and `logout`.

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use common::cli::{Context, Execute};
use common::images::{self, HUB};
use common::step::warn;
use common::{Exit, output};

use crate::client::Client;
use crate::credentials::Credentials;
use crate::logins::{Logins, SecretStore};
use crate::prompt::{Prompt, password_of_stdin};
use crate::settings::{ConnectionFlags, Settings};
use crate::transport::{Content, get};

/// Log in to a registry
#[derive(Args, Debug)]
#[group(skip)]
pub struct Login {
    /// The user name; if it is missing, the command asks for it
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,

    /// The password; other users can see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,

    #[command(flatten)]
    connection: ConnectionFlags,

    /// The registry, for example localhost:5000
    #[arg(value_name = "REGISTRY", default_value = HUB)]
    registry: String,
}

impl Execute for Login {
    fn execute(self, _: &Context) -> Result<Exit> {
        let registry = registry(&self.registry)?;
        let mut logins = Logins::open()?;
        if self.password.is_some() {
            warn(
                "a password on the command line is visible to other users: use \
                 --password-stdin",
            );
        }
        let credentials = match (self.username, self.password) {
            (Some(user), Some(password)) => {
                Credentials::of_password(&user, &password)
            }
            (Some(user), None) if self.password_stdin => {
                Credentials::of_password(&user, &password_of_stdin()?)
            }
            (user, password) => ask(user, password)?,
        };
        ensure!(
            !credentials.user.is_empty() && !credentials.user.contains(':'),
            "the user name must not be empty, and must not contain \":\""
        );
        verify(&self.connection.settings(), &registry, &credentials)?;
        logins.store(&registry, &credentials)?;
        if let SecretStore::File(path) = logins.place(&registry)? {
            warn(&format!(
                "the password is stored unencrypted in {}: a credential helper \
                 (credsStore in this file) stores it safely",
                path.display()
            ));
        }
        say("Login Succeeded")
    }
}

/// Log out of a registry
#[derive(Args, Debug)]
#[group(skip)]
pub struct Logout {
    /// The registry, for example localhost:5000
    #[arg(value_name = "REGISTRY", default_value = HUB)]
    registry: String,
}

impl Execute for Logout {
    fn execute(self, _: &Context) -> Result<Exit> {
        let registry = registry(&self.registry)?;
        let text = match Logins::open()?.erase(&registry)? {
            true => format!("Removing login credentials for {registry}"),
            false => format!("Not logged in to {registry}"),
        };
        say(&text)
    }
}

/// The host of a registry. The user may also give a URL.
fn registry(text: &str) -> Result<String> {
    let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
    let host = rest.unwrap_or(text).split('/').next().unwrap_or_default();
    let registry = images::registry(host)?.with_context(|| {
        format!(
            "{text:?} is not a registry: expected HOST or HOST:PORT, for example \
             localhost:5000"
        )
    })?;
    Ok(registry.to_owned())
}

fn ask(user: Option<String>, password: Option<String>) -> Result<Credentials> {
    let mut prompt = Prompt::open()?;
    let user = match user {
        Some(user) => user,
        None => prompt.ask("Username")?,
    };
    let password = match password {
        Some(password) => password,
        None => prompt.ask_secret("Password")?,
    };
    Ok(Credentials::of_password(&user, &password))
}

/// Check the credentials with the registry.
fn verify(
    settings: &Settings,
    registry: &str,
    credentials: &Credentials,
) -> Result<()> {
    let client = Client::for_login(settings, registry, credentials.clone())?;
    let request = get(client.base().clone(), &[]);
    let response =
        settings.backoff.retry(|_| client.send(&request, Content::Empty))?;
    let status = response.status();
    if status.as_u16() == 401 || status.as_u16() == 403 {
        bail!(
            "{registry}: incorrect user name or password (user {})",
            credentials.user.escape_debug()
        );
    }
    let what = format!("the API of {registry}");
    client.expect(response, &what).map_err(|failure| failure.into_error())?;
    Ok(())
}

/// Print a line. Output that cannot be written is an error.
fn say(line: &str) -> Result<Exit> {
    output::report(&format!("{line}\n"), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_may_be_written_as_a_url() {
        for (text, host) in [
            ("localhost:5000", "localhost:5000"),
            ("https://ghcr.io/", "ghcr.io"),
            ("http://127.0.0.1:5000/v2/", "127.0.0.1:5000"),
            ("docker.io", HUB),
            ("https://index.docker.io/v1/", HUB),
        ] {
            assert_eq!(registry(text).unwrap(), host);
        }
        for text in ["", "busybox", "library", "a/b", "-", "https://"] {
            let error = registry(text).unwrap_err().to_string();
            assert!(error.contains("is not a registry"), "{error}");
        }
        let error = registry("localhost:0").unwrap_err().to_string();
        assert!(error.contains("the port must be"), "{error}");
    }
}
