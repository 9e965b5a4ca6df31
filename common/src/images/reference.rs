//! References: how users call images.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

use super::digest::{Digest, is_hex_digit};

/// `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`, in the short form: `docker.io/` and
/// `docker.io/library/` are left out.
///
/// # Source
/// The distribution project, reference/reference.go, "Grammar"
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The repository, after the registry's host if that is not Docker Hub.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest of a manifest. It selects the image; a tag beside it is not used.
    pub digest: Option<Digest>,
}

/// The registry of names without a host.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The namespace of Docker Hub's names without one.
const LIBRARY: &str = "library/";
/// The tag that is used if none is given.
const DEFAULT_TAG: &str = "latest";
/// The longest file name on Linux: a reference names a file.
const LONGEST: usize = 255;

impl Reference {
    /// The same, with the tag `latest` if it has no tag and no digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The name as lists show it: without the tag `latest`.
    #[must_use]
    pub fn short(&self) -> String {
        let whole = self.to_string();
        match whole.strip_suffix(":latest") {
            Some(short) => short.to_owned(),
            None => whole,
        }
    }

    /// The host of the registry, perhaps with a port.
    #[must_use]
    pub fn registry(&self) -> &str {
        split_host(&self.repository).0.unwrap_or(DEFAULT_REGISTRY)
    }

    /// The repository as its registry calls it.
    #[must_use]
    pub fn path(&self) -> String {
        match split_host(&self.repository) {
            (None, path) if !path.contains('/') => format!("{LIBRARY}{path}"),
            (_, path) => path.to_owned(),
        }
    }

    /// The file name of this reference. `/` is written `+`, which no reference
    /// contains.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.to_string().replace('/', "+")
    }

    /// The reference of a file name.
    ///
    /// # Errors
    /// It is not the file name of a reference.
    pub fn from_file_name(name: &str) -> Result<Reference> {
        name.replace('+', "/").parse()
    }
}

/// The host, if the first component is one, and the rest.
fn split_host(repository: &str) -> (Option<&str>, &str) {
    match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            (Some(host), path)
        }
        _ => (None, repository),
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        let parsed = parse(text);
        parsed.with_context(|| format!("invalid image name {text:?}"))
    }
}

fn parse(text: &str) -> Result<Reference> {
    ensure!(text.len() <= LONGEST, "it is longer than {LONGEST} bytes");
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse()?)),
        None => (text, None),
    };
    // A colon before the last slash begins a port.
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match name[last..].find(':') {
        Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
        None => (name, None),
    };
    let (host, path) = split_host(repository);
    if let Some(host) = host {
        check_host(host)?;
    }
    for component in path.split('/') {
        check_component(component)?;
    }
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    if repository.len() == 64 && repository.bytes().all(is_hex_digit) {
        bail!("64 hexadecimal digits are an image ID, not a name");
    }
    let familiar = match repository.strip_prefix("docker.io/") {
        Some(path) => path.strip_prefix(LIBRARY).unwrap_or(path),
        None => repository,
    };
    Ok(Reference {
        repository: familiar.to_owned(),
        tag: tag.map(str::to_owned),
        digest,
    })
}

fn check_host(host: &str) -> Result<()> {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let letter = |c: char| c.is_ascii_alphanumeric();
    let label = |label: &str| {
        label.starts_with(letter)
            && label.ends_with(letter)
            && label.chars().all(|c| letter(c) || c == '-')
    };
    if !name.split('.').all(label) {
        bail!("{host:?} is not the host of a registry");
    }
    port.parse::<u16>().map(drop).with_context(|| format!("the port {port:?}"))
}

/// Letters and digits, joined by `.`, `_`, `__` or dashes.
fn check_component(component: &str) -> Result<()> {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    ensure!(!component.is_empty(), "a component of the name is empty");
    ensure!(
        !component.contains(|c: char| c.is_ascii_uppercase()),
        "a repository must be lower case"
    );
    let joined = component.starts_with(lower)
        && component.ends_with(lower)
        && component.chars().all(|c| lower(c) || "._-".contains(c))
        && component
            .split(lower)
            .all(|s| matches!(s, "" | "." | "_" | "__") || !s.contains(['.', '_']));
    ensure!(
        joined,
        "a repository must consist of lower-case letters and digits, joined by '.', \
         '_', '__' or '-'"
    );
    Ok(())
}

fn check_tag(tag: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let inner = |c: char| word(c) || c == '.' || c == '-';
    ensure!(
        tag.starts_with(word) && tag.chars().all(inner) && tag.len() <= 128,
        "the tag {tag:?} must consist of at most 128 letters, digits, '_', '.' and \
         '-', and must not begin with '.' or '-'"
    );
    Ok(())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_has_a_registry_a_path_and_a_short_form() {
        for (text, short, registry, path) in [
            ("busybox", "busybox:latest", "docker.io", "library/busybox"),
            ("docker.io/a/b:1", "a/b:1", "docker.io", "a/b"),
            ("docker.io/library/a", "a:latest", "docker.io", "library/a"),
            ("localhost/a:x", "localhost/a:x", "localhost", "a"),
            ("h:5000/a/b_c", "h:5000/a/b_c:latest", "h:5000", "a/b_c"),
            ("ghcr.io/a/b--c", "ghcr.io/a/b--c:latest", "ghcr.io", "a/b--c"),
        ] {
            let found = reference(text).with_default_tag();
            assert_eq!(found.to_string(), short);
            assert_eq!((found.registry(), &*found.path()), (registry, path));
            let name = found.file_name();
            assert!(!name.contains('/'));
            assert_eq!(Reference::from_file_name(&name).unwrap(), found);
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_default_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let found = reference(&format!("a@{digest}")).with_default_tag();
        assert_eq!((found.tag, found.digest.unwrap().to_string()), (None, digest));
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_the_reason() {
        let hex = "a".repeat(64);
        let long = "a".repeat(256);
        for (text, reason) in [
            ("", "empty"),
            ("a//b", "empty"),
            ("../a", "the host of a registry"),
            ("/a", "empty"),
            (".a", "joined by"),
            ("-a", "joined by"),
            ("a._b", "joined by"),
            ("a b", "joined by"),
            ("ä", "joined by"),
            ("Ab", "lower case"),
            ("a:", "the tag"),
            ("a:.x", "the tag"),
            ("a:b:c", "the tag"),
            ("h.x:port/a", "the port"),
            ("a@sha256:12", "64 hexadecimal"),
            (&hex, "image ID"),
            (&long, "longer"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
        }
    }
}
