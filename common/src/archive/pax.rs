//! Extended headers: which keywords are applied, which are ignored because they do
//! not change the files, and which are refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::str;

use anyhow::{Context, Result, bail};
use nix::sys::time::TimeSpec;

use super::base64;
use super::escape::escaped;
use super::sparse::{self, decimal};

/// The maximum size of an extended header. It limits the memory that a hostile
/// archive can use.
pub(super) const MAX_HEADER: u64 = 8 << 20;

// ANCHOR: table
/// Keywords that do not change the files of an image.
const IGNORED: [&str; 19] = [
    // Texts for people, and marks of the program that wrote the archive.
    "comment",
    "GNU.volume.label",
    "SCHILY.archtype",
    "SCHILY.release",
    "APK-TOOLS.checksum.SHA1",
    // The encoding of a file's text. Data is copied as it is.
    "charset",
    // Names of owners. The numbers decide, as names differ between machines.
    "uname",
    "gname",
    // An image has one time per file, the time of its last change.
    "atime",
    "ctime",
    "LIBARCHIVE.creationtime",
    // Where the file was stored on the machine where the archive was made.
    "SCHILY.dev",
    "SCHILY.ino",
    "SCHILY.nlink",
    // Labels and flags of that machine. A layer contains no file flags.
    "RHT.security.selinux",
    "SCHILY.fflags",
    // On Windows, a symlink states the type of its target.
    "LIBARCHIVE.symlinktype",
    // Bookkeeping of node-tar.
    "NODETAR.depth",
    "NODETAR.type",
];

/// Prefixes of the keywords that are refused, each with the reason.
const REFUSED: [(&str, &str); 3] = [
    ("SCHILY.acl.", ACCESS_LISTS),
    ("GNU.volume.", "a file that is split over several archives is not supported"),
    ("GNU.dumpdir", "incremental archives are not supported"),
];
// ANCHOR_END: table

const ACCESS_LISTS: &str = "access control lists are not supported: create the \
                            archive without them";

/// What an extended header states about the next entry, or about all entries.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) time: Option<TimeSpec>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    /// Extended attributes.
    pub(super) attributes: Vec<(String, Vec<u8>)>,
    pub(super) sparse: sparse::Keywords,
}

impl Pax {
    /// Add the keywords of an extended header. A later value of a keyword replaces
    /// an earlier value.
    pub(super) fn add(&mut self, header: &[u8], scope: Scope) -> Result<()> {
        for record in records(header) {
            let (keyword, value) = record?;
            let shown = || format!("pax keyword \"{}\"", keyword.escape_ascii());
            let name = str::from_utf8(keyword).with_context(shown)?;
            self.set(name, value, scope).with_context(shown)?;
        }
        Ok(())
    }

    fn set(&mut self, keyword: &str, value: &[u8], scope: Scope) -> Result<()> {
        match keyword {
            "mtime" => self.time = Some(time(value)?),
            "uid" => self.uid = Some(decimal(value)?),
            "gid" => self.gid = Some(decimal(value)?),
            "hdrcharset" => match value {
                b"BINARY" | b"ISO-IR 10646 2000 UTF-8" => {}
                _ => bail!("unknown character set \"{}\"", value.escape_ascii()),
            },
            _ if IGNORED.contains(&keyword) => {}
            _ if scope == Scope::AllEntries => {
                bail!(
                    "not supported in a global header, which applies to all entries"
                )
            }
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "size" => self.size = Some(decimal(value)?),
            "SCHILY.devmajor" => self.major = Some(decimal(value)?),
            "SCHILY.devminor" => self.minor = Some(decimal(value)?),
            _ => return self.set_vendor(keyword, value),
        }
        Ok(())
    }

    fn set_vendor(&mut self, keyword: &str, value: &[u8]) -> Result<()> {
        if let Some(name) = keyword.strip_prefix("SCHILY.xattr.") {
            // GNU tar escapes the two characters that a keyword cannot contain.
            let name = name.replace("%3D", "=").replace("%25", "%");
            return self.attribute(name, value.to_vec());
        }
        if let Some(name) = keyword.strip_prefix("LIBARCHIVE.xattr.") {
            let name = percent_decoded(name)?;
            let value = base64::decode(value).context("expected base64")?;
            return self.attribute(name, value);
        }
        if let Some(keyword) = keyword.strip_prefix("GNU.sparse.")
            && self.sparse.set(keyword, value)?
        {
            return Ok(());
        }
        let known = REFUSED.iter().find(|(start, _)| keyword.starts_with(start));
        match known {
            Some((_, reason)) => bail!("{reason}"),
            None => bail!("unknown, and it may change the meaning of the entry"),
        }
    }

    fn attribute(&mut self, name: String, value: Vec<u8>) -> Result<()> {
        if name.starts_with("system.") {
            bail!("{ACCESS_LISTS}");
        }
        self.attributes.push((name, value));
        Ok(())
    }
}

/// The entries that an extended header describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    NextEntry,
    AllEntries,
}

/// The name that an extended header gives to an entry, for an error about that header.
pub(super) fn name(header: &[u8]) -> Option<String> {
    let found = |wanted: &[u8]| {
        let mut records = records(header).flatten();
        records.find(|(keyword, _)| *keyword == wanted)
    };
    let (_, name) = found(b"GNU.sparse.name").or_else(|| found(b"path"))?;
    Some(escaped(OsStr::from_bytes(name)))
}

type Record<'a> = (&'a [u8], &'a [u8]);

/// The records of an extended header: `LENGTH KEYWORD=VALUE` and a line feed. The
/// length counts the whole record, so a value can contain any byte.
///
/// # Source
/// POSIX.1-2024, pax, "pax Extended Header"
pub(super) fn records(header: &[u8]) -> impl Iterator<Item = Result<Record<'_>>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (found, after) = match record(rest) {
            Some((found, after)) => (Ok(found), after),
            None => {
                let start = &rest[..rest.len().min(40)];
                let shown = start.escape_ascii();
                let error =
                    anyhow::anyhow!("damaged extended header at \"{shown}\"");
                (Err(error), &[][..])
            }
        };
        rest = after;
        Some(found)
    })
}

/// The first record, and the bytes after it.
fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = decimal(&bytes[..space]).ok()?;
    let (record, after) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    let text = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    Some(((&text[..equals], &text[equals + 1..]), after))
}

/// A time in seconds since 1970, such as `-1.5`; negative before 1970.
fn time(value: &[u8]) -> Result<TimeSpec> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(decimal(parts.next().unwrap_or_default())?)?;
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next().filter(|fraction| !fraction.is_empty()) {
        if !fraction.iter().all(u8::is_ascii_digit) {
            bail!("expected a time, found \"{}\"", value.escape_ascii());
        }
        // The kernel keeps nine digits.
        let nine = fraction.iter().chain(b"000000000").take(9);
        nanoseconds = nine.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => TimeSpec::new(whole, nanoseconds),
        (true, 0) => TimeSpec::new(-whole, 0),
        (true, _) => TimeSpec::new(-whole - 1, 1_000_000_000 - nanoseconds),
    })
}

/// Decode the name of an attribute. libarchive may write any byte of it in the form
/// `%41`.
fn percent_decoded(name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut parts = name.split('%');
    bytes.extend(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).context("damaged \"%\"")?;
        bytes.push(u8::from_str_radix(digits, 16).context("damaged \"%\"")?);
        bytes.extend(rest.as_bytes());
    }
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::record;

    fn parsed(header: &[u8]) -> Result<Pax> {
        let mut pax = Pax::default();
        pax.add(header, Scope::NextEntry).map(|()| pax)
    }

    fn refusal(header: &[u8]) -> String {
        format!("{:#}", parsed(header).unwrap_err())
    }

    #[test]
    fn a_value_holds_any_byte_and_the_length_ends_it() {
        let pax = parsed(b"14 path=a\nb\nc\n15 linkpath==\0\n").unwrap();
        assert_eq!(pax.path.unwrap(), b"a\nb\nc");
        assert_eq!(pax.link.unwrap(), b"=\0");
    }

    #[test]
    fn damaged_records_are_refused() {
        for header in [
            &b"8 path=a\n"[..],
            b"11 path=a\n",
            b"10 path=a\n\n",
            b"x path=a\n",
            b"-10 path=a\n",
            b"7 path\n",
            b"2 ",
            b"99999999999999999999 path=a\n",
            b"\0\0\0\0",
        ] {
            let shown = header.escape_ascii().to_string();
            assert!(refusal(header).contains("damaged extended header"), "{shown}");
        }
    }

    #[test]
    fn times_have_fractions_and_may_lie_before_1970() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("-0", 0, 0),
            ("1234.5", 1234, 500_000_000),
            ("7.", 7, 0),
            ("1.0000000019", 1, 1),
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
        ] {
            let found = time(text.as_bytes()).unwrap();
            assert_eq!(found, TimeSpec::new(seconds, nanoseconds), "{text}");
        }
        for text in ["", "-", "x", "1.x", "1,5", "--1", "99999999999999999999"] {
            assert!(time(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_keyword_that_may_change_the_files_is_refused_by_name() {
        for (keyword, value, reason) in [
            ("VENDOR.magic", "1", "unknown"),
            ("SCHILY.acl.access", "u::rwx", "access control lists"),
            ("SCHILY.xattr.system.posix_acl_access", "x", "access control lists"),
            ("SCHILY.realsize", "1234", "unknown"),
            ("GNU.dumpdir", "Yname", "incremental"),
            ("GNU.volume.offset", "9", "split over several"),
            ("GNU.sparse.surprise", "", "unknown"),
            ("hdrcharset", "EBCDIC", "unknown character set"),
            ("size", "1x", "expected a number"),
            ("path\u{1b}", "x", "unknown"),
            ("LIBARCHIVE.xattr.user.a", "!", "expected base64"),
        ] {
            let error = refusal(&record(keyword, value));
            let shown = format!("\"{}\"", keyword.as_bytes().escape_ascii());
            assert!(error.contains(&shown) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn attributes_are_decoded_as_their_writers_encode_them() {
        let header = [
            record("SCHILY.xattr.user.a%3D%25", "\n\0"),
            record("LIBARCHIVE.xattr.user.%41%3d", "Zm8"),
        ];
        let pax = parsed(&header.concat()).unwrap();
        let expected = [
            ("user.a=%".to_owned(), b"\n\0".to_vec()),
            ("user.A=".to_owned(), b"fo".to_vec()),
        ];
        assert_eq!(pax.attributes, expected);
    }

    #[test]
    fn a_global_header_names_no_files() {
        let global = |header: &[u8]| Pax::default().add(header, Scope::AllEntries);
        global(b"15 comment=abc\n9 uid=12\n").unwrap();
        for header in [&b"10 path=ab\n"[..], b"23 GNU.sparse.size=123\n"] {
            assert!(global(header).is_err());
        }
    }
}
