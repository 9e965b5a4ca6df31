//! The value of `-v`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};

/// One volume: `HOST:GUEST[:ro]`. The paths may contain any bytes except `:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The path on the host. A relative path starts at the working directory.
    pub host: PathBuf,
    /// The path in the container: absolute, without `.` and `..`, and not `/`.
    pub guest: PathBuf,
    /// Whether the mount is read-only.
    pub read_only: bool,
}

impl Spec {
    /// Parse a volume. Nothing is created.
    ///
    /// # Errors
    /// The text does not have this form.
    pub fn parse(text: &OsStr) -> Result<Spec> {
        let form = "expected HOST:GUEST[:ro]";
        let fields: Vec<&[u8]> = text.as_bytes().split(|&b| b == b':').collect();
        let (host, guest, read_only) = match fields[..] {
            [host, guest] => (host, guest, false),
            [host, guest, b"rw"] => (host, guest, false),
            [host, guest, b"ro"] => (host, guest, true),
            [_, _, mode] => {
                let mode = OsStr::from_bytes(mode).display();
                bail!(
                    "the mode {mode:?} is neither ro nor rw: {form}",
                    mode = mode.to_string()
                )
            }
            [_] => bail!("no \":\" in it: {form}"),
            _ => bail!("more than three fields: {form}"),
        };
        if host.is_empty() {
            bail!("no host path before the \":\": {form}");
        }
        if guest.is_empty() {
            bail!("no path in the container after the \":\": {form}");
        }
        let guest = Path::new(OsStr::from_bytes(guest));
        if !guest.is_absolute() {
            bail!(
                "the container's path {guest:?} must be absolute: begin it with \"/\""
            );
        }
        if guest.components().any(|part| part == Component::ParentDir) {
            bail!("the container's path {guest:?} must not contain \"..\"");
        }
        if guest.components().count() < 2 {
            bail!(
                "the container's path must not be /: a volume cannot replace the \
                 root filesystem"
            );
        }
        let host = PathBuf::from(OsString::from_vec(host.to_vec()));
        Ok(Spec { host, guest: guest.components().collect(), read_only })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn spec(text: &str) -> Result<Spec> {
        Spec::parse(OsStr::new(text))
    }

    #[test]
    fn the_three_forms_are_read() {
        let plain = spec("/tmp/v:/test").unwrap();
        assert_eq!(plain.host, Path::new("/tmp/v"));
        assert_eq!(plain.guest, Path::new("/test"));
        assert!(!plain.read_only);
        assert_eq!(spec("/tmp/v:/test:rw").unwrap(), plain);
        assert!(spec("v:/a/b/:ro").unwrap().read_only);
        assert_eq!(spec("v:/a//b/.").unwrap().guest, Path::new("/a/b"));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_kept() {
        let spec = Spec::parse(OsStr::from_bytes(b"/\xff:/\xfe")).unwrap();
        assert_eq!(spec.host.as_os_str().as_bytes(), b"/\xff");
        assert_eq!(spec.guest.as_os_str().as_bytes(), b"/\xfe");
    }

    /// Write a parsed volume as text again.
    fn written(spec: &Spec) -> Vec<u8> {
        let mode = if spec.read_only { ":ro" } else { "" };
        let paths = [spec.host.as_os_str(), spec.guest.as_os_str()];
        [&paths.map(OsStr::as_bytes).join(&b':'), mode.as_bytes()].concat()
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let special = prop::sample::select(&b"//::..aro"[..]);
        vec(prop_oneof![5 => special, 1 => 1..=255_u8], 0..16)
    }

    /// Texts that are almost valid.
    fn fields() -> impl Strategy<Value = Vec<u8>> {
        let part = prop::sample::select(vec!["a", "b", "..", ".", "", "ro"]);
        let mode = prop::sample::select(vec!["", ":ro", ":rw", ":r", ":"]);
        (vec(part.clone(), 0..4), vec(part, 0..4), mode).prop_map(
            |(host, guest, mode)| {
                let (host, guest) = (host.join("/"), guest.join("/"));
                format!("{host}:/{guest}{mode}").into_bytes()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 1000,
            ..ProptestConfig::default()
        })]

        #[test]
        fn an_accepted_volume_reads_back_and_stays_below_the_root(
            text in prop_oneof![bytes(), fields()]
        ) {
            let text = OsStr::from_bytes(&text);
            let Ok(spec) = Spec::parse(text) else { return Ok(()) };
            let again = written(&spec);
            prop_assert_eq!(&Spec::parse(OsStr::from_bytes(&again)).unwrap(), &spec);
            // The host's path is not changed.
            prop_assert!(text.as_bytes().starts_with(
                &[spec.host.as_os_str().as_bytes(), b":/"].concat()
            ));
            prop_assert_eq!(spec.read_only, text.as_bytes().ends_with(b":ro"));
            let mut parts = spec.guest.components();
            prop_assert_eq!(parts.next(), Some(Component::RootDir));
            let rest: Vec<_> = parts.collect();
            prop_assert!(!rest.is_empty());
            prop_assert!(rest.iter().all(|part| matches!(part, Component::Normal(_))));
        }

        #[test]
        fn valid_volumes_are_accepted(
            host in "[^:\\x00]{1,12}",
            guest in vec("[^:/\\x00]{1,5}", 1..4),
            read_only in any::<bool>(),
        ) {
            let path = format!("/{}", guest.join("/"));
            let text = format!("{host}:{path}{}", if read_only { ":ro" } else { "" });
            let lawful = guest.iter().any(|name| name != ".")
                && guest.iter().all(|name| name != "..");
            let spec = Spec::parse(OsStr::new(&text));
            prop_assert_eq!(spec.is_ok(), lawful, "{}", text);
            if let Ok(spec) = spec {
                prop_assert_eq!(spec.host, Path::new(&host));
                prop_assert_eq!(spec.guest, Path::new(&path));
            }
        }
    }

    #[test]
    fn invalid_volumes_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "no \":\""),
            ("a", "no \":\""),
            (":b", "no host path"),
            ("a:", "no path in the container"),
            ("a:b:c:d", "more than three"),
            ("a:/b:x", "neither ro nor rw"),
            ("/a:b", "must be absolute"),
            ("/a:/b/../c", "\"..\""),
            ("/a:/", "must not be /"),
            ("/a:/.", "must not be /"),
            ("/a:/.", "must not be /"),
        ] {
            let error = spec(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
