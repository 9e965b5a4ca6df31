//! Names of images in registries: `NAME[:TAG][@DIGEST]`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail, ensure};

use crate::Digest;

/// The registry of a name that has none.
pub const HUB: &str = "docker.io";

/// The tag of a name that has neither a tag nor a digest.
const LATEST: &str = "latest";

/// The name of an image in a registry.
///
/// # Source
/// The rules of Docker for image references, as `docker tag --help` and the grammar of
/// the package `distribution/reference` state them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry's host, with its port if the name has one: `docker.io`,
    /// `localhost:5000`.
    pub registry: String,
    /// The path in the registry: `library/busybox`.
    pub repository: String,
    /// The tag; `None` if the name has only a digest.
    pub tag: Option<String>,
    /// The digest, to which the content must correspond.
    pub digest: Option<Digest>,
}

impl Reference {
    /// The name as users write it, without tag and digest: `busybox` for
    /// `docker.io/library/busybox`.
    #[must_use]
    pub fn familiar(&self) -> String {
        if self.registry != HUB {
            return format!("{}/{}", self.registry, self.repository);
        }
        let official = self.repository.strip_prefix("library/");
        official.unwrap_or(&self.repository).to_owned()
    }

    /// What the registry is asked for: the digest if there is one, otherwise the tag.
    #[must_use]
    pub fn wanted(&self) -> &str {
        let digest = self.digest.as_ref().map(Digest::as_str);
        digest.or(self.tag.as_deref()).unwrap_or(LATEST)
    }

    /// The same name with this tag. This is the form `pull NAME TAG`.
    ///
    /// # Errors
    /// The name has a tag or a digest already; the tag is invalid.
    pub fn with_tag(text: &str, tag: &str) -> Result<Reference> {
        let (name, own_tag, digest) = split(text)?;
        if own_tag.is_some() || digest.is_some() {
            bail!(
                "two tags for one image: \"{}\" and \"{}\": remove one of them",
                text.escape_debug(),
                tag.escape_debug()
            );
        }
        format!("{name}:{tag}").parse()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.familiar())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

// ANCHOR: parse
impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        let (name, tag, digest) = split(text)?;
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (HUB, name),
        };
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" => HUB,
            other => other,
        };
        check_host(registry)?;
        let official = registry == HUB && !path.contains('/');
        let repository = match official {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        check_repository(path)?;
        ensure!(
            registry.len() + 1 + repository.len() <= 255,
            "the image name has more than 255 characters"
        );
        let tag = match (tag, &digest) {
            (None, None) => Some(LATEST.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
    }
}

/// Whether the first part of a name is a host: only a host has a dot, a port or upper
/// case letters. `localhost` is a host, too.
fn is_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.contains(|c: char| c.is_ascii_uppercase())
}
// ANCHOR_END: parse

/// Name, tag and digest of a reference.
fn split(text: &str) -> Result<(&str, Option<&str>, Option<Digest>)> {
    let shown = text.escape_debug();
    ensure!(!text.is_empty(), "the image name is empty");
    if text.contains("://") {
        bail!(
            "invalid image name \"{shown}\": write it without http:// or https://"
        );
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse()?)),
        None => (text, None),
    };
    // A colon before the last slash belongs to the port.
    let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[name_start..].find(':') {
        Some(colon) => {
            let (name, tag) = rest.split_at(name_start + colon);
            (name, Some(&tag[1..]))
        }
        None => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    Ok((name, tag, digest))
}

fn check_tag(tag: &str) -> Result<()> {
    let shown = tag.escape_debug();
    ensure!(!tag.is_empty(), "the tag after \":\" is empty");
    ensure!(tag.len() <= 128, "the tag \"{shown}\" has more than 128 characters");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !tag.starts_with(word) || !tag.chars().all(|c| word(c) || ".-".contains(c)) {
        bail!(
            "invalid tag \"{shown}\": expected letters, digits, \"_\", \".\" and \
             \"-\", and first a letter, a digit or \"_\""
        );
    }
    Ok(())
}

fn check_host(registry: &str) -> Result<()> {
    let shown = registry.escape_debug();
    // An IPv6 address is in brackets.
    let (host, port) = match registry.rfind(']') {
        Some(end) if registry.starts_with('[') => registry.split_at(end + 1),
        _ => registry.split_at(registry.find(':').unwrap_or(registry.len())),
    };
    if let Some(port) = port.strip_prefix(':') {
        let valid = port.parse::<u16>().is_ok_and(|port| port > 0);
        ensure!(
            valid && port.bytes().all(|byte| byte.is_ascii_digit()),
            "invalid registry \"{shown}\": the port must be from 1 to 65535"
        );
    }
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !label.is_empty()
                && label.chars().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        }),
    };
    ensure!(
        valid && (port.is_empty() || port.starts_with(':')),
        "invalid registry \"{shown}\": expected HOST or HOST:PORT"
    );
    Ok(())
}

fn check_repository(path: &str) -> Result<()> {
    let shown = path.escape_debug();
    if path.contains(|c: char| c.is_ascii_uppercase()) {
        bail!("invalid image name \"{shown}\": it must be in lower case");
    }
    let hex = |byte: u8| byte.is_ascii_hexdigit();
    if path.len() == 64 && path.bytes().all(hex) {
        bail!("invalid image name \"{shown}\": 64 digits are an ID, not a name");
    }
    match path.split('/').find(|part| !is_component(part)) {
        None => Ok(()),
        Some("") => bail!("invalid image name \"{shown}\": a part of it is empty"),
        Some(part) => bail!(
            "invalid image name \"{shown}\": \"{}\" must consist of lower case letters \
             and digits, with \".\", \"_\", \"__\" or \"-\" between them",
            part.escape_debug()
        ),
    }
}

/// One part of a repository: words of letters and digits, and separators between them.
fn is_component(part: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = part.split(word).filter(|between| !between.is_empty());
    let mut all_known = true;
    for separator in separators {
        let dashes = separator.chars().all(|c| c == '-');
        all_known &= dashes || matches!(separator, "." | "_" | "__");
    }
    all_known && part.starts_with(word) && part.ends_with(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_does() {
        for (text, registry, repository, wanted, shown) in [
            ("busybox", HUB, "library/busybox", "latest", "busybox:latest"),
            ("busybox:1.36", HUB, "library/busybox", "1.36", "busybox:1.36"),
            (
                "docker.io/busybox",
                HUB,
                "library/busybox",
                "latest",
                "busybox:latest",
            ),
            ("index.docker.io/a/b", HUB, "a/b", "latest", "a/b:latest"),
            ("a/b__c--d:x", HUB, "a/b__c--d", "x", "a/b__c--d:x"),
            ("localhost/a", "localhost", "a", "latest", "localhost/a:latest"),
            (
                "localhost:5000/a/b:c",
                "localhost:5000",
                "a/b",
                "c",
                "localhost:5000/a/b:c",
            ),
            ("ghcr.io/a", "ghcr.io", "a", "latest", "ghcr.io/a:latest"),
            ("[::1]:5000/a", "[::1]:5000", "a", "latest", "[::1]:5000/a:latest"),
            ("HOST/a", "HOST", "a", "latest", "HOST/a:latest"),
        ] {
            let found: Reference = text.parse().unwrap();
            assert_eq!(found.registry, registry, "{text}");
            assert_eq!(found.repository, repository, "{text}");
            assert_eq!(found.wanted(), wanted, "{text}");
            assert_eq!(found.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_digest_is_asked_for_before_the_tag() {
        let digest = Digest::of(b"x");
        let found: Reference = format!("a:b@{digest}").parse().unwrap();
        assert_eq!(found.wanted(), digest.as_str());
        assert_eq!(found.tag.as_deref(), Some("b"));
        let found: Reference = format!("a@{digest}").parse().unwrap();
        assert_eq!(found.tag, None);
        assert_eq!(found.to_string(), format!("a@{digest}"));
    }

    #[test]
    fn errors_name_the_fault() {
        let long = "a".repeat(256);
        let id = "a".repeat(64);
        for (text, fault) in [
            ("", "is empty"),
            ("Busybox", "lower case"),
            ("https://docker.io/a", "without http"),
            ("a:", "the tag after \":\" is empty"),
            ("a:-b", "invalid tag \"-b\""),
            ("a@sha256:00", "64 hexadecimal digits"),
            ("a@md5:00", "only sha256"),
            ("a//b", "a part of it is empty"),
            ("/a", "a part of it is empty"),
            ("a/../b", "\"..\" must consist"),
            ("a___b", "must consist"),
            ("a.", "must consist"),
            ("a\u{1b}b", "\\u{1b}"),
            ("localhost:0/a", "the port must be from 1"),
            ("localhost:+1/a", "the port must be from 1"),
            ("-x.y/a", "invalid registry"),
            ("[::1/a", "invalid registry"),
            (&long, "more than 255"),
            (&id, "an ID, not a name"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(fault), "{text}: {error}");
            assert!(!error.contains('\u{1b}'));
        }
    }

    #[test]
    fn a_tag_may_be_a_word_of_its_own() {
        let found = Reference::with_tag("localhost:5000/a", "b").unwrap();
        assert_eq!(found.to_string(), "localhost:5000/a:b");
        let error = Reference::with_tag("a:b", "c").unwrap_err().to_string();
        assert!(error.contains("two tags"), "{error}");
    }
}
