//! Records: text files with the fields of an image or a container.
//!
//! A field is a line with its name, a space and its value. A name that occurs more
//! than once is a list. A newline in a value is written as `\n`, a backslash as
//! `\\`; every other byte is written unchanged, whether UTF-8 or not, because an
//! environment or a path may contain any byte. The last line is `end`: a record
//! without it is truncated.
//!
//! The first line is the format version. A record without that line has version 1:
//! it was written before versions existed.
//!
//! ```text
//! format 1
//! name busybox
//! layer busybox-3d6f5b8f2c1a
//! command sh
//! end
//! ```

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::BufRead as _;
use std::iter::from_fn;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Context, Error, Result, bail};
use nix::errno::Errno;

/// The format version of records, images and lock files.
pub(crate) const FORMAT: u32 = 1;

/// The error text for a format that is newer than [`FORMAT`].
pub(crate) const NEWER: &str = "a newer version of this program created it: use \
                                that version; no data is lost";

/// The error of a record whose format is larger than [`FORMAT`].
#[derive(Debug)]
struct Newer(u32);

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "it has format {}: {NEWER}", self.0)
    }
}

impl std::error::Error for Newer {}

/// Whether the record of this error may be whole: a newer version wrote it, or a system
/// call failed for a reason that says nothing about the file. What removes damaged
/// records without being asked for each of them leaves such a record alone.
#[must_use]
pub fn may_be_whole(error: &Error) -> bool {
    use Errno::{
        EACCES, EINTR, EIO, EMFILE, ENFILE, ENOMEM, EPERM, ESTALE, ETIMEDOUT,
    };
    let unrelated =
        [EACCES, EINTR, EIO, EMFILE, ENFILE, ENOMEM, EPERM, ESTALE, ETIMEDOUT];
    let errno = error.root_cause().downcast_ref::<Errno>();
    is_newer(error) || errno.is_some_and(|errno| unrelated.contains(errno))
}

/// Whether this error is about a record of a newer version, which is whole: no command may
/// take it for damaged and remove it.
#[must_use]
pub fn is_newer(error: &Error) -> bool {
    error.chain().any(|cause| cause.is::<Newer>())
}

/// The fields of a record, in order.
#[derive(Debug, Default)]
pub struct Fields<'a>(Vec<(&'a [u8], Cow<'a, [u8]>)>);

impl<'a> Fields<'a> {
    /// Add a field.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: impl AsRef<OsStr>) -> Fields<'a> {
        let value = value.as_ref().as_bytes().to_vec();
        self.0.push((name.as_bytes(), Cow::Owned(value)));
        self
    }

    /// Add a list of values, which may be empty.
    #[must_use]
    pub fn with_all(
        self,
        name: &'a str,
        values: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Fields<'a> {
        values.into_iter().fold(self, |fields, value| fields.with(name, value))
    }

    /// The text of the record.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = format!("format {FORMAT}\n").into_bytes();
        for (name, value) in &self.0 {
            text.extend(*name);
            text.push(b' ');
            for byte in value.iter() {
                match byte {
                    b'\n' => text.extend(br"\n"),
                    b'\\' => text.extend(br"\\"),
                    byte => text.push(*byte),
                }
            }
            text.push(b'\n');
        }
        text.extend(END);
        text
    }

    /// Parse the text of a record.
    ///
    /// # Errors
    /// The text is truncated, a line is not a field, or its format is newer.
    pub fn read(text: &'a [u8]) -> Result<Fields<'a>> {
        let text = text.strip_suffix(END).context("its last line is not `end`")?;
        let mut fields = Vec::with_capacity(USUAL_COUNT);
        for line in lines(text) {
            fields.push(field(line)?);
        }
        if fields.first().is_some_and(|(name, _)| *name == b"format") {
            let (_, version) = fields.remove(0);
            let version =
                str::from_utf8(&version).ok().and_then(|it| it.parse().ok());
            let version: u32 = version.context("its format is not a number")?;
            if version > FORMAT {
                return Err(Newer(version).into());
            }
        }
        Ok(Fields(fields))
    }

    /// All values of the fields with this name; possibly none.
    pub fn all(&self, name: &str) -> impl Iterator<Item = OsString> {
        self.values(name).map(|value| OsString::from_vec(value.to_vec()))
    }

    /// All values of the fields with this name, as text.
    ///
    /// # Errors
    /// A value is not UTF-8.
    pub fn words(&self, name: &str) -> Result<Vec<String>> {
        self.texts(name).map(|word| word.map(str::to_owned)).collect()
    }

    /// The value of the field, if it exists.
    ///
    /// # Errors
    /// The value is not UTF-8.
    pub fn word_if_any(&self, name: &str) -> Result<Option<String>> {
        Ok(self.texts(name).next().transpose()?.map(str::to_owned))
    }

    /// The value of the field.
    ///
    /// # Errors
    /// The field is missing, or its value is not UTF-8.
    pub fn word(&self, name: &str) -> Result<String> {
        self.word_if_any(name)?.with_context(|| format!("{name} is missing"))
    }

    /// The value of the field, as a number.
    ///
    /// # Errors
    /// The field is missing, or its value is not a number.
    pub fn number(&self, name: &str) -> Result<u64> {
        let word = self.texts(name).next().transpose()?;
        let word = word.with_context(|| format!("{name} is missing"))?;
        word.parse()
            .with_context(|| format!("{name} is {word:?}, which is not a number"))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = move |(field, _): &&(&[u8], _)| *field == name.as_bytes();
        let fields = self.0.iter().filter(named);
        fields.map(|(_, value)| &**value)
    }

    fn texts(&self, name: &str) -> impl Iterator<Item = Result<&str>> {
        let text = |value| str::from_utf8(value).ok();
        let values = self.values(name).map(text);
        values.map(move |text| text.with_context(|| format!("{name} is not UTF-8")))
    }
}

/// The usual number of fields is smaller, so the vector is allocated once. A list of
/// containers reads hundreds of records.
const USUAL_COUNT: usize = 16;

const END: &[u8] = b"end\n";

/// The lines, each with its newline.
fn lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    from_fn(move || {
        // std searches the byte by memchr(3), which compares many bytes at once.
        let mut rest = text;
        let length = rest.skip_until(b'\n').ok().filter(|length| *length > 0)?;
        text.split_off(..length)
    })
}

/// Parse a line that ends with its newline.
fn field(line: &[u8]) -> Result<(&[u8], Cow<'_, [u8]>)> {
    let shown =
        || format!("the line {:?} is not a field", String::from_utf8_lossy(line));
    let space = line.iter().position(|byte| *byte == b' ').with_context(shown)?;
    let name = &line[..space];
    let value = line[space + 1..].strip_suffix(b"\n").with_context(shown)?;
    if !value.contains(&b'\\') {
        return Ok((name, Cow::Borrowed(value)));
    }
    let mut whole = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        whole.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'\\') => b'\\',
                _ => bail!(shown()),
            },
            byte => byte,
        });
    }
    Ok((name, Cow::Owned(whole)))
}
