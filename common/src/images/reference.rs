//! References: the names by which users call images.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, anyhow, bail, ensure};

use super::digest::{Digest, is_hex_digit};
use super::registry::{HUB, registry, split_host};

/// `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`, in the short form: `docker.io/` and
/// `docker.io/library/` are left out.
///
/// # Source
/// The distribution project, reference/reference.go, "Grammar"
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The repository, after the registry's host if that is not Docker Hub: `busybox`,
    /// `localhost:5000/a/b`.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest of a manifest. It selects the image; a tag beside it is not used.
    pub digest: Option<Digest>,
}

/// The namespace of a name of Docker Hub that contains no other namespace.
const LIBRARY: &str = "library/";
/// The tag that is used if none is given.
const DEFAULT_TAG: &str = "latest";
/// The longest file name on Linux, in bytes. A reference is also the name of a file.
const MAX_FILE_NAME: usize = 255;

impl Reference {
    /// The same, with the tag `latest` if it has no tag and no digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same name with this tag. This is the form `pull NAME TAG`.
    ///
    /// # Errors
    /// The name has a tag or a digest already; the tag is invalid; the name with the
    /// tag is too long.
    pub fn with_tag(self, tag: &str) -> Result<Reference> {
        ensure!(
            self.tag.is_none() && self.digest.is_none(),
            "two tags for one image: \"{self}\" and {tag:?}: remove one of them"
        );
        check_tag(tag)?;
        Reference { tag: Some(tag.to_owned()), ..self }.fitting()
    }

    /// The same repository with this digest, without a tag.
    ///
    /// # Errors
    /// The name with the digest is too long.
    pub fn with_digest(&self, digest: Digest) -> Result<Reference> {
        let repository = self.repository.clone();
        Reference { repository, tag: None, digest: Some(digest) }.fitting()
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

    /// The host of the registry, with its port if the name has one.
    #[must_use]
    pub fn registry(&self) -> &str {
        split_host(&self.repository).0.unwrap_or(HUB)
    }

    /// The repository as its registry calls it: `library/busybox`.
    #[must_use]
    pub fn path(&self) -> String {
        match split_host(&self.repository) {
            (None, path) if !path.contains('/') => format!("{LIBRARY}{path}"),
            (_, path) => path.to_owned(),
        }
    }

    /// The part that is sent to a registry: the digest if there is one, otherwise
    /// the tag.
    #[must_use]
    pub fn wanted(&self) -> &str {
        let digest = self.digest.as_ref().map(Digest::as_str);
        digest.or(self.tag.as_deref()).unwrap_or(DEFAULT_TAG)
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

    /// Check that the file name is not too long, even with the default tag.
    fn fitting(self) -> Result<Reference> {
        let whole = self.clone().with_default_tag().to_string();
        check_length(&whole)?;
        Ok(self)
    }
}

// ANCHOR: parse
impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        ensure!(!text.is_empty(), "the image name is empty");
        check_length(text)?;
        // One text, not a chain: clap prints only the outermost error.
        parse(text)
            .map_err(|fault| anyhow!("invalid image name {text:?}: {fault:#}"))
    }
}

fn parse(text: &str) -> Result<Reference> {
    ensure!(!text.contains("://"), "write it without http:// or https://");
    let (name, tag, digest) = split(text);
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) => match registry(first)? {
            Some(registry) => (registry, rest),
            None => (HUB, name),
        },
        None => (HUB, name),
    };
    check_path(path)?;
    tag.map(check_tag).transpose()?;
    let repository = short_repository(registry, path);
    if repository.len() == 64 && repository.bytes().all(is_hex_digit) {
        bail!("64 hexadecimal digits are an image ID, not a name");
    }
    let tag = tag.map(str::to_owned);
    let digest = digest.map(str::parse).transpose()?;
    Reference { repository, tag, digest }.fitting()
}
// ANCHOR_END: parse

/// Name, tag and digest.
fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A colon before the last slash begins a port.
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    match rest[last..].find(':') {
        Some(colon) => {
            let (name, tag) = rest.split_at(last + colon);
            (name, Some(&tag[1..]), digest)
        }
        None => (rest, None, digest),
    }
}

/// The repository without `docker.io/` and `library/`. If the rest looks like a
/// host, as in `docker.io/a.b/c`, nothing is left out.
fn short_repository(registry: &str, path: &str) -> String {
    if registry != HUB {
        return format!("{registry}/{path}");
    }
    let short = match path.strip_prefix(LIBRARY) {
        Some(name) if !name.contains('/') => name,
        _ => path,
    };
    match split_host(short) {
        (None, _) => short.to_owned(),
        (Some(_), _) => format!("{HUB}/{path}"),
    }
}

fn check_length(text: &str) -> Result<()> {
    ensure!(
        text.len() <= MAX_FILE_NAME,
        "the image name is longer than {MAX_FILE_NAME} bytes, with its tag or digest"
    );
    Ok(())
}

fn check_path(path: &str) -> Result<()> {
    let upper = path.contains(|c: char| c.is_ascii_uppercase());
    ensure!(!upper, "it must be in lower case");
    match path.split('/').find(|part| !is_component(part)) {
        None => Ok(()),
        Some("") => bail!("a part of it is empty"),
        Some(part) => bail!(
            "{part:?} must consist of lower case letters and digits, with \".\", \
             \"_\", \"__\" or \"-\" between them"
        ),
    }
}

/// One part of a repository: words of letters and digits, and separators between them.
fn is_component(part: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let known = |separator: &str| {
        matches!(separator, "." | "_" | "__") || separator.chars().all(|c| c == '-')
    };
    part.starts_with(word) && part.ends_with(word) && part.split(word).all(known)
}

fn check_tag(tag: &str) -> Result<()> {
    ensure!(!tag.is_empty(), "the tag after \":\" is empty");
    ensure!(tag.len() <= 128, "the tag {tag:?} has more than 128 characters");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !tag.starts_with(word) || !tag.chars().all(|c| word(c) || ".-".contains(c)) {
        bail!(
            "invalid tag {tag:?}: expected letters, digits, \"_\", \".\" and \"-\", \
             starting with a letter, a digit or \"_\""
        );
    }
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
            ("busybox", "busybox:latest", HUB, "library/busybox"),
            ("busybox:1.36", "busybox:1.36", HUB, "library/busybox"),
            ("library/busybox", "busybox:latest", HUB, "library/busybox"),
            ("docker.io/a/b:1", "a/b:1", HUB, "a/b"),
            ("docker.io/library/a", "a:latest", HUB, "library/a"),
            ("library/a/b", "library/a/b:latest", HUB, "library/a/b"),
            ("index.docker.io/a/b", "a/b:latest", HUB, "a/b"),
            ("registry-1.docker.io/a", "a:latest", HUB, "library/a"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", HUB, "a.b/c"),
            ("a/b__c--d:x", "a/b__c--d:x", HUB, "a/b__c--d"),
            ("localhost/a:x", "localhost/a:x", "localhost", "a"),
            ("h:5000/a/b_c", "h:5000/a/b_c:latest", "h:5000", "a/b_c"),
            ("ghcr.io/a/b--c", "ghcr.io/a/b--c:latest", "ghcr.io", "a/b--c"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000", "a"),
            ("HOST/a", "HOST/a:latest", "HOST", "a"),
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
    fn a_digest_has_precedence_over_the_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let found = reference(&format!("a@{digest}")).with_default_tag();
        assert_eq!((found.wanted(), &found.tag), (&*digest, &None));
        assert_eq!(found.to_string(), format!("a@{digest}"));
        let found = reference(&format!("a:b@{digest}"));
        assert_eq!((found.wanted(), found.tag.as_deref()), (&*digest, Some("b")));
        assert_eq!(reference("a:b").wanted(), "b");
        assert_eq!(reference("a").wanted(), "latest");
    }

    #[test]
    fn a_digest_replaces_the_tag_and_counts_for_the_length() {
        let digest = || Digest::from_bytes(&[1; 32]);
        let found = reference("h:1/a:b").with_digest(digest()).unwrap();
        assert_eq!(found.to_string(), format!("h:1/a@{}", digest()));
        assert_eq!(found.file_name(), format!("h:1+a@{}", digest()));
        let long = "a".repeat(MAX_FILE_NAME - "@sha256:".len() - 64);
        assert!(reference(&long).with_digest(digest()).is_ok());
        let longer = reference(&format!("{long}a"));
        let error = longer.with_digest(digest()).unwrap_err().to_string();
        assert!(error.contains("longer than 255"), "{error}");
    }

    #[test]
    fn a_tag_may_be_a_separate_argument() {
        let with_tag = |name: &str, tag| reference(name).with_tag(tag);
        let found = with_tag("localhost:5000/a", "b").unwrap();
        assert_eq!(found.to_string(), "localhost:5000/a:b");
        let long = "b".repeat(128);
        for (name, tag, fault) in [
            ("a:b", "c", "two tags for one image: \"a:b\" and \"c\""),
            ("a", "", "is empty"),
            // With a colon between them, they would be a name in the registry a:5000.
            ("a", "5000/b", "invalid tag"),
            (&"a".repeat(127), &long, "longer than 255"),
        ] {
            let error = with_tag(name, tag).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }

    #[test]
    fn an_invalid_image_name_is_refused_with_the_reason() {
        let hex = "a".repeat(64);
        let long = "a".repeat(249);
        let longer = "a".repeat(256);
        for (text, reason) in [
            ("", "is empty"),
            ("a//b", "a part of it is empty"),
            ("/a", "a part of it is empty"),
            ("../a", "invalid registry"),
            ("-x.y/a", "invalid registry"),
            ("h.x:port/a", "the port must be from 1"),
            ("a/../b", "\"..\" must consist"),
            (".a", "must consist"),
            ("-a", "must consist"),
            ("a.", "must consist"),
            ("a._b", "must consist"),
            ("a___b", "must consist"),
            ("a b", "must consist"),
            ("ä", "must consist"),
            ("a\u{1b}b", "\\u{1b}"),
            ("Ab", "lower case"),
            ("https://docker.io/a", "without http"),
            ("a:", "the tag after \":\" is empty"),
            ("a:.x", "invalid tag \".x\""),
            ("a:-b", "invalid tag \"-b\""),
            ("a:b:c", "invalid tag"),
            ("a@sha256:12", "64 hexadecimal"),
            ("a@md5:00", "only sha256"),
            (&hex, "image ID"),
            (&format!("docker.io/{hex}"), "image ID"),
            (&long, "longer than 255"),
            (&longer, "longer than 255"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains('\u{1b}'));
        }
    }
}
