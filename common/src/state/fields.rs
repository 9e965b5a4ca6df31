//! Records: what is kept of an image or a container, as text.
//!
//! A field is a line: its name, a space, its value. A name that comes more than once is
//! a list. A line break in a value is written `\n`, a backslash `\\`; every other byte
//! stands for itself, whether UTF-8 or not, as in an environment or a path. The last
//! line says `end`: a record without it was cut short.
//!
//! The first line is the format version. A record without that line was written before
//! there were versions, in the format of version 1.
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
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Context, Result, bail, ensure};

/// The format version of records, images and lock files.
pub(crate) const FORMAT: u32 = 1;

/// What is wrong with a format that is larger than [`FORMAT`].
pub(crate) const NEWER: &str = "a newer version of this program made it: use that \
                                version, and nothing is lost";

/// The fields of a record, in order.
#[derive(Debug, Default)]
pub struct Fields<'a>(Vec<(&'a str, Cow<'a, [u8]>)>);

impl<'a> Fields<'a> {
    /// Add a field.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: impl AsRef<OsStr>) -> Fields<'a> {
        let value = value.as_ref().as_bytes().to_vec();
        self.0.push((name, Cow::Owned(value)));
        self
    }

    /// Add a list, which may be empty.
    #[must_use]
    pub fn with_all(
        self,
        name: &'a str,
        values: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Fields<'a> {
        values.into_iter().fold(self, |fields, value| fields.with(name, value))
    }

    /// The record as it is written.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = format!("format {FORMAT}\n").into_bytes();
        for (name, value) in &self.0 {
            text.extend(name.as_bytes());
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

    /// Read it back.
    ///
    /// # Errors
    /// It was cut short, a line is not a field, or its format is newer.
    pub fn read(text: &'a [u8]) -> Result<Fields<'a>> {
        let lines = text.strip_suffix(END).context("its last line is not `end`")?;
        let lines = lines.split_inclusive(|byte| *byte == b'\n');
        // Allocated once: a list reads hundreds of records.
        let count = text.iter().filter(|byte| **byte == b'\n').count();
        let mut fields = Vec::with_capacity(count);
        for line in lines {
            fields.push(field(line)?);
        }
        if fields.first().is_some_and(|(name, _)| *name == "format") {
            let (_, version) = fields.remove(0);
            let version =
                str::from_utf8(&version).ok().and_then(|it| it.parse().ok());
            let version: u32 = version.context("its format is no number")?;
            ensure!(version <= FORMAT, "it has format {version}: {NEWER}");
        }
        Ok(Fields(fields))
    }

    /// All values of this name, which may be none.
    pub fn all(&self, name: &str) -> impl Iterator<Item = OsString> {
        let fields = self.0.iter().filter(move |(field, _)| *field == name);
        fields.map(|(_, value)| OsString::from_vec(value.to_vec()))
    }

    /// All values of this name, as text.
    ///
    /// # Errors
    /// One is no UTF-8.
    pub fn words(&self, name: &str) -> Result<Vec<String>> {
        let text = |value: OsString| value.into_string().ok();
        let words: Option<_> = self.all(name).map(text).collect();
        words.with_context(|| format!("{name} is no text"))
    }

    /// The value, if there is one.
    ///
    /// # Errors
    /// It is no UTF-8.
    pub fn word_if_any(&self, name: &str) -> Result<Option<String>> {
        Ok(self.words(name)?.into_iter().next())
    }

    /// The value.
    ///
    /// # Errors
    /// There is none, or it is no UTF-8.
    pub fn word(&self, name: &str) -> Result<String> {
        self.word_if_any(name)?.with_context(|| format!("{name} is missing"))
    }

    /// The value, a number.
    ///
    /// # Errors
    /// There is none, or it is no number.
    pub fn number(&self, name: &str) -> Result<u64> {
        let word = self.word(name)?;
        word.parse().with_context(|| format!("{name} is {word:?}, and no number"))
    }
}

const END: &[u8] = b"end\n";

/// A line, with its break.
fn field(line: &[u8]) -> Result<(&str, Cow<'_, [u8]>)> {
    let shown =
        || format!("the line {:?} is no field", String::from_utf8_lossy(line));
    let space = line.iter().position(|byte| *byte == b' ').with_context(shown)?;
    let name = str::from_utf8(&line[..space]).with_context(shown)?;
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
