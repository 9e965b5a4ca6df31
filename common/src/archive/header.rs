//! One header block of a tar archive: its fields, and the numbers in them.

use std::ops::Range;

use anyhow::{Context, Result, bail};

/// The size of a header, and the unit in which an archive stores data.
///
/// # Source
/// POSIX.1-2024, pax, "ustar Interchange Format"
pub(super) const BLOCK: u64 = 512;

/// A block that starts an entry.
///
/// # Source
/// POSIX.1-2024, pax, "ustar Interchange Format"; tar(5) of libarchive, "GNU Tar
/// Archives"
pub(super) struct Header(pub(super) [u8; BLOCK as usize]);

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;

impl Header {
    /// Whether the block is part of the archive's end mark.
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Compare the checksum with the block's bytes.
    pub(super) fn checksum_is_right(&self) -> bool {
        let bytes = self.0.iter().enumerate();
        let sum: i64 = bytes
            .map(|(at, byte)| match CHECKSUM.contains(&at) {
                true => i64::from(b' '),
                false => i64::from(*byte),
            })
            .sum();
        number(&self.0[CHECKSUM]).is_ok_and(|stored| stored == Some(sum))
    }

    /// Whether the format is known: POSIX, GNU, or the older format without a name.
    pub(super) fn format_is_known(&self) -> bool {
        let magic = &self.0[MAGIC];
        !magic.starts_with(b"ustar") || magic[5] == 0 || self.is_gnu()
    }

    /// The entry type.
    pub(super) fn flag(&self) -> u8 {
        self.0[TYPE]
    }

    /// Whether the header has the additional fields of GNU tar.
    pub(super) fn is_gnu(&self) -> bool {
        &self.0[MAGIC] == b"ustar  \0"
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[NAME]);
        let prefix = text(&self.0[PREFIX]);
        match self.0[MAGIC].starts_with(b"ustar\0") && !prefix.is_empty() {
            true => [prefix, b"/", name].concat(),
            false => name.to_vec(),
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[LINK]).to_vec()
    }

    pub(super) fn size(&self) -> Result<u64> {
        // The label of an archive (type "V") may have an empty size field.
        if self.flag() == b'V' && number(&self.0[SIZE])?.is_none() {
            return Ok(0);
        }
        let size = self.field(SIZE, "size")?;
        u64::try_from(size).context("a negative size")
    }

    pub(super) fn mode(&self) -> Result<u32> {
        // Some writers put the file type here as well.
        Ok(u32::try_from(self.field(MODE, "mode")?)? & 0o7777)
    }

    pub(super) fn uid(&self) -> Result<u64> {
        u64::try_from(self.field(UID, "uid")?).context("a negative uid")
    }

    pub(super) fn gid(&self) -> Result<u64> {
        u64::try_from(self.field(GID, "gid")?).context("a negative gid")
    }

    /// The modification time in seconds since 1970; negative before 1970.
    pub(super) fn mtime(&self) -> Result<i64> {
        self.field(MTIME, "mtime")
    }

    /// The major and minor number of a device. Some writers leave the fields of other
    /// entries empty.
    pub(super) fn device(&self) -> Result<(u64, u64)> {
        let part = |field: Range<usize>| -> Result<u64> {
            let number = number(&self.0[field]).context("device number")?;
            u64::try_from(number.unwrap_or(0)).context("a negative device number")
        };
        Ok((part(MAJOR)?, part(MINOR)?))
    }

    fn field(&self, field: Range<usize>, name: &str) -> Result<i64> {
        let found =
            number(&self.0[field]).with_context(|| format!("field {name}"))?;
        found.with_context(|| format!("field {name} is empty"))
    }
}

/// The bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number of a header field: octal digits, or GNU tar's binary form, which also
/// holds negative numbers. `None` if the field is empty.
///
/// # Source
/// tar(5) of libarchive, "Numeric Extensions"
pub(super) fn number(field: &[u8]) -> Result<Option<i64>> {
    if let Some((first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        let sign = if first & 0x40 != 0 { -1 } else { 0 };
        let mut value = sign << 6 | i128::from(first & 0x3f);
        for byte in rest {
            value = value << 8 | i128::from(*byte);
        }
        return i64::try_from(value).context("the number is too large").map(Some);
    }
    let digits = text(field).trim_ascii();
    if digits.is_empty() {
        return Ok(None);
    }
    let mut value: i64 = 0;
    for digit in digits {
        let b'0'..=b'7' = digit else {
            bail!("expected an octal number, found {}", digits.escape_ascii());
        };
        let next = value.checked_mul(8).context("the number is too large")?;
        value = next | i64::from(digit - b'0');
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary_and_may_be_negative() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"77777777777\0", Some(0o77777777777)),
            (b"\0\0\0\0\0\0\0\0", None),
            (b"        ", None),
            (b"\x80\0\0\0\0\0\0\x07", Some(7)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
        ] {
            assert_eq!(number(field).unwrap(), value, "{}", field.escape_ascii());
        }
        for field in [
            &b"0000648\0"[..],
            b"-1\0",
            b"1 1\0",
            b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
            b"777777777777777777777777",
        ] {
            assert!(number(field).is_err(), "{}", field.escape_ascii());
        }
    }
}
