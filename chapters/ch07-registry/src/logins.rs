//! Logins, as Docker stores them: `config.json`, and credential helpers, the programs
//! that keep secrets.

use std::env;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::images::HUB;
use common::step::{self, Step};
use serde_json::{Map, Value, json};

use crate::credentials::{Credentials, Secret};
use crate::helper::Helper;

/// The key under which Docker stores the login of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The file with the logins.
#[derive(Debug)]
pub struct Logins {
    path: PathBuf,
    config: Map<String, Value>,
}

impl Logins {
    /// Read the file: `$DOCKER_CONFIG/config.json`, otherwise `~/.docker/config.json`.
    ///
    /// # Errors
    /// The file cannot be read, or is not JSON. A missing file is not an error:
    /// there are no logins.
    pub fn open() -> Result<Logins> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let home = || set("HOME").map(|home| PathBuf::from(home).join(".docker"));
        let directory = set("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
        Logins::at(directory.unwrap_or_default())
    }

    /// Find the credentials for a registry that may need no login. If the file is
    /// not JSON, print a warning, and continue without credentials.
    ///
    /// # Errors
    /// The file cannot be read; an entry for this registry is damaged; as
    /// [`Logins::find`].
    pub fn find_or_warn(registry: &str) -> Result<Option<Credentials>> {
        match Logins::open() {
            Err(error) if error.root_cause().is::<serde_json::Error>() => {
                let text = step::report(&error);
                step::warn(&format!("{text}: continuing without a login"));
                Ok(None)
            }
            logins => logins?.find(registry),
        }
    }

    /// Read the file in this directory.
    ///
    /// # Errors
    /// The file cannot be read, or is not JSON.
    pub fn at(directory: PathBuf) -> Result<Logins> {
        let path = directory.join("config.json");
        let text = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => b"{}".to_vec(),
            read => read.untraced(|| format!("read(2) {}", path.display()))?,
        };
        let config = serde_json::from_slice(&text).with_context(|| {
            format!("{} is not a configuration of Docker", path.display())
        })?;
        Ok(Logins { path, config })
    }

    /// The credentials for a registry, if the user is logged in.
    ///
    /// # Errors
    /// The credential helper fails; an entry is damaged.
    pub fn find(&self, registry: &str) -> Result<Option<Credentials>> {
        if let Some(helper) = self.helper(registry)? {
            return helper.get(&key(registry));
        }
        let Some(entry) = self.entry(registry) else { return Ok(None) };
        let damaged = || format!("{}: the login of {registry}", self.path.display());
        read_entry(entry).with_context(damaged)
    }

    /// The credential helper for this registry, if there is one.
    fn helper(&self, registry: &str) -> Result<Option<Helper>> {
        let own = &self.config.get("credHelpers").unwrap_or(&Value::Null);
        let own = own[key(registry)].as_str().or(own[registry].as_str());
        let store = self.config.get("credsStore").and_then(Value::as_str);
        let name = own.or(store).filter(|name| !name.is_empty());
        name.map(Helper::new).transpose()
    }

    fn entry(&self, registry: &str) -> Option<&Value> {
        let auths = self.config.get("auths")?.as_object()?;
        // Older programs stored URLs as keys.
        let same = |stored: &&String| host_of(stored) == registry;
        auths.get(&key(registry)).or_else(|| {
            let stored = auths.keys().find(same)?;
            auths.get(stored)
        })
    }

    /// The place where the secret of this registry is stored.
    ///
    /// # Errors
    /// The configured program has an invalid name.
    pub fn place(&self, registry: &str) -> Result<SecretStore> {
        Ok(match self.helper(registry)? {
            Some(_) => SecretStore::Helper,
            None => SecretStore::File(self.path.clone()),
        })
    }

    /// Store a login.
    ///
    /// # Errors
    /// The file cannot be written; the credential helper fails.
    pub fn store(
        &mut self,
        registry: &str,
        credentials: &Credentials,
    ) -> Result<()> {
        let entry = match self.helper(registry)? {
            Some(helper) => {
                helper.store(&key(registry), credentials)?;
                // An empty entry tells Docker that there is a login.
                json!({})
            }
            None => write_entry(credentials),
        };
        let auths = self.config.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else {
            bail!("{}: \"auths\" must be an object", self.path.display());
        };
        auths.insert(key(registry), entry);
        self.save()
    }

    /// Remove a login. Returns whether there was one.
    ///
    /// # Errors
    /// The file cannot be written; the credential helper fails.
    pub fn erase(&mut self, registry: &str) -> Result<bool> {
        let mut found = false;
        if let Some(helper) = self.helper(registry)? {
            found = helper.get(&key(registry))?.is_some();
            if found {
                helper.erase(&key(registry))?;
            }
        }
        let auths = self.config.get_mut("auths").and_then(Value::as_object_mut);
        if let Some(auths) = auths {
            let before = auths.len();
            auths.retain(|stored, _| {
                *stored != key(registry) && host_of(stored) != registry
            });
            if auths.len() < before {
                found = true;
                self.save()?;
            }
        }
        Ok(found)
    }

    /// Write the file. A reader sees either the old file or the new one. Only the
    /// owner may read the file, because it contains passwords.
    fn save(&self) -> Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let step = || format!("write(2) {}", self.path.display());
        let mut make = DirBuilder::new();
        make.recursive(true).mode(0o700);
        make.create(directory)
            .step(|| format!("mkdir(2) {}", directory.display()))?;
        // The file may be a symlink, for example into a repository of dotfiles.
        let path = fs::canonicalize(&self.path).unwrap_or(self.path.clone());
        let new = path.with_extension(format!("json.{}.new", std::process::id()));
        let mut text = serde_json::to_vec_pretty(&self.config)?;
        text.push(b'\n');
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&new).and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        });
        if written.is_err() {
            // An error of this removal is ignored, because the user must see the
            // first error.
            let _ = fs::remove_file(&new);
        }
        written.step(step)
    }
}

/// Where a secret is stored.
#[derive(Debug, PartialEq, Eq)]
pub enum SecretStore {
    /// In this file, not encrypted.
    File(PathBuf),
    /// In a credential helper.
    Helper,
}

/// The key under which Docker stores the login of a registry.
fn key(registry: &str) -> String {
    if registry == HUB { HUB_KEY.to_owned() } else { registry.to_owned() }
}

/// The host of a key that may be a URL.
fn host_of(stored: &str) -> &str {
    let rest = stored.strip_prefix("https://").or(stored.strip_prefix("http://"));
    let host = rest.unwrap_or(stored).split('/').next().unwrap_or_default();
    if host == "index.docker.io" { HUB } else { host }
}

fn read_entry(entry: &Value) -> Result<Option<Credentials>> {
    let text = |key: &str| entry[key].as_str().unwrap_or_default();
    let (mut user, mut password) =
        (text("username").to_owned(), text("password").to_owned());
    if !text("auth").is_empty() {
        let decoded = STANDARD.decode(text("auth")).context("auth is not base64")?;
        let decoded = String::from_utf8(decoded).context("auth is not text")?;
        let (first, rest) =
            decoded.split_once(':').context("auth has no \":\" in it")?;
        // Old versions of Docker pad the password with NUL bytes.
        password = rest.trim_end_matches('\0').to_owned();
        user = first.to_owned();
    }
    let token = text("identitytoken");
    if user.is_empty() && token.is_empty() {
        return Ok(None);
    }
    let secret = match token.is_empty() {
        true => Secret::Password(password),
        false => Secret::IdentityToken(token.to_owned()),
    };
    Ok(Some(Credentials { user, secret }))
}

fn write_entry(credentials: &Credentials) -> Value {
    let user = &credentials.user;
    match &credentials.secret {
        Secret::Password(password) => {
            json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
        }
        Secret::IdentityToken(token) => json!({
            "auth": STANDARD.encode(format!("{user}:")),
            "identitytoken": token,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(directory: &Path, text: &str) -> Logins {
        fs::write(directory.join("config.json"), text).unwrap();
        Logins::at(directory.to_owned()).unwrap()
    }

    #[test]
    fn a_login_is_stored_and_other_settings_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = logins(dir.path(), r#"{"psFormat":"x","auths":{"a":{}}}"#);
        let credentials = Credentials::of_password("me", "se:cret");
        all.store("b:5000", &credentials).unwrap();
        all.store(HUB, &credentials).unwrap();
        let path = dir.path().join("config.json");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(value["psFormat"], "x");
        assert_eq!(value["auths"]["b:5000"]["auth"], "bWU6c2U6Y3JldA==");
        assert_eq!(value["auths"][HUB_KEY]["auth"], "bWU6c2U6Y3JldA==");
        let mut all = Logins::at(dir.path().to_owned()).unwrap();
        assert_eq!(all.find("b:5000").unwrap(), Some(credentials));
        assert_eq!(all.find("a").unwrap(), None);
        assert!(all.erase("b:5000").unwrap());
        assert!(!all.erase("b:5000").unwrap());
        let all = Logins::at(dir.path().to_owned()).unwrap();
        assert_eq!(all.find("b:5000").unwrap(), None);
        assert!(all.find(HUB).unwrap().is_some());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn keys_may_be_urls_and_entries_may_be_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let all = logins(
            dir.path(),
            r#"{"auths":{"https://a/v2/":{"auth":"YTpi"},
                "t":{"auth":"YTo=","identitytoken":"x"},"u":{"auth":"!"},
                "v":{"auth":"YQ=="}}}"#,
        );
        let found = all.find("a").unwrap().unwrap();
        assert_eq!(found, Credentials::of_password("a", "b"));
        let token = Secret::IdentityToken("x".into());
        assert!(all.find("t").unwrap().unwrap().secret == token);
        for damaged in ["u", "v"] {
            let error = format!("{:#}", all.find(damaged).unwrap_err());
            assert!(error.contains("config.json"), "{error}");
        }
        assert_eq!(all.find("other").unwrap(), None);
    }

    #[test]
    fn a_missing_file_has_no_logins_and_a_damaged_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let none = Logins::at(dir.path().join("none")).unwrap();
        assert_eq!(none.find("a").unwrap(), None);
        fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(Logins::at(dir.path().to_owned()).is_err());
    }
}
