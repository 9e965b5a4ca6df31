//! GNU tar's maps of sparse files: which regions of a file the archive stores. The rest
//! of the file is holes.

use std::io::Read;
use std::str;

use anyhow::{Context, Result, bail};

use super::header::{BLOCK, Header, number};

/// A part of a file that the archive stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A map that was checked: its regions are sorted and disjoint, they lie inside the
/// file, and the archive stores exactly their bytes.
#[derive(Debug)]
pub(super) struct Map {
    /// The size of the file with its holes.
    pub(super) size: u64,
    pub(super) regions: Vec<Region>,
}

/// The maximum number of regions of a file. It limits the memory that a hostile
/// archive can use (16 MiB).
const MAX_REGIONS: usize = 1 << 20;

impl Map {
    /// Check a map. `stored` is the number of bytes that the archive has for the file.
    pub(super) fn new(size: u64, regions: Vec<Region>, stored: u64) -> Result<Map> {
        if size > i64::MAX as u64 {
            bail!("damaged sparse map: a file of {size} bytes is too large");
        }
        let (mut end, mut sum) = (0, 0);
        for &Region { offset, length } in &regions {
            if offset < end {
                bail!(
                    "damaged sparse map: the region at {offset} starts before the \
                     end of the previous region, {end}"
                );
            }
            // Readers disagree on where the next region starts in the archive.
            if length > 0 && sum % BLOCK != 0 {
                bail!(
                    "ambiguous sparse map: the region before the one at {offset} is \
                     not a multiple of {BLOCK} bytes"
                );
            }
            end = match offset.checked_add(length) {
                Some(end) if end <= size => end,
                _ => bail!(
                    "damaged sparse map: the region of {length} bytes at {offset} \
                     ends beyond the end of the file, {size}"
                ),
            };
            sum += length;
        }
        // GNU tar ends the file at the end of the last region. A hole at the end is a
        // region of 0 bytes.
        if end != size {
            bail!(
                "damaged sparse map: it ends at {end}, but the size of the file is {size}"
            );
        }
        if sum != stored {
            bail!(
                "damaged sparse map: its regions have {sum} bytes, but the archive \
                 stores {stored}"
            );
        }
        Ok(Map { size, regions })
    }
}

/// The place of the map.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MapLocation {
    /// In the keywords (versions 0.0 and 0.1).
    Keywords(Vec<Region>),
    /// In front of the file's data (version 1.0).
    Data,
}

/// The keywords `GNU.sparse.*` of one entry.
///
/// # Source
/// The manual of GNU tar, "Storing Sparse Files"
#[derive(Debug, Default)]
pub(super) struct Keywords {
    /// The real name; the name in the header is a placeholder.
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    count: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    regions: Vec<Region>,
    /// Version 0.0: an offset whose length follows.
    offset: Option<u64>,
    /// Version 0.1: `GNU.sparse.map` was read.
    map: bool,
    used: bool,
}

impl Keywords {
    /// Store the value of the keyword `GNU.sparse.KEYWORD`. Returns false if the
    /// keyword is unknown.
    pub(super) fn set(&mut self, keyword: &str, value: &[u8]) -> Result<bool> {
        self.used = true;
        match keyword {
            "name" => self.name = Some(value.to_vec()),
            // Version 1.0 uses the second name.
            "size" | "realsize" => once(&mut self.size, decimal(value)?)?,
            "numblocks" => once(&mut self.count, decimal(value)?)?,
            "major" => once(&mut self.major, decimal(value)?)?,
            "minor" => once(&mut self.minor, decimal(value)?)?,
            "offset" if self.offset.is_none() && !self.map => {
                self.offset = Some(decimal(value)?);
            }
            "numbytes" => {
                let offset =
                    self.offset.take().context("expected an offset first")?;
                self.push(Region { offset, length: decimal(value)? })?;
            }
            "map" if self.regions.is_empty() && !self.map => {
                self.map = true;
                let mut numbers = value.split(|byte| *byte == b',');
                while let Some(offset) = numbers.next().filter(|_| !value.is_empty())
                {
                    let length =
                        numbers.next().context("expected pairs of numbers")?;
                    let (offset, length) = (decimal(offset)?, decimal(length)?);
                    self.push(Region { offset, length })?;
                }
            }
            "offset" | "map" => bail!("unexpected in this place"),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn push(&mut self, region: Region) -> Result<()> {
        push(&mut self.regions, region)
    }

    /// The size of the file, and the place of its map. `None` if the file is not
    /// sparse.
    pub(super) fn finish(self) -> Result<Option<(u64, MapLocation)>> {
        if !self.used {
            return Ok(None);
        }
        let size =
            self.size.context("pax keyword GNU.sparse.realsize is missing")?;
        let in_keywords = !self.regions.is_empty() || self.map;
        let place = match (self.major, self.minor) {
            (Some(1), Some(0)) if !in_keywords && self.offset.is_none() => {
                MapLocation::Data
            }
            (None, None) => {
                let count = self.count.context("GNU.sparse.numblocks is missing")?;
                if count != self.regions.len() as u64 || self.offset.is_some() {
                    bail!(
                        "damaged sparse map: GNU.sparse.numblocks is {count}, but \
                         there are {} regions",
                        self.regions.len()
                    );
                }
                MapLocation::Keywords(self.regions)
            }
            (Some(1), Some(0)) => bail!("two sparse maps for one file"),
            (major, minor) => {
                let part = |number: Option<u64>| {
                    number.map_or("?".to_owned(), |number| number.to_string())
                };
                bail!(
                    "unknown version of sparse map: GNU.sparse.major {}, \
                     GNU.sparse.minor {}",
                    part(major),
                    part(minor)
                )
            }
        };
        Ok(Some((size, place)))
    }
}

/// Set a value. A second value of the same entry must be the same.
fn once(value: &mut Option<u64>, new: u64) -> Result<()> {
    match value.replace(new) {
        Some(old) if old != new => bail!("two different values, {old} and {new}"),
        _ => Ok(()),
    }
}

fn push(regions: &mut Vec<Region>, region: Region) -> Result<()> {
    if regions.len() == MAX_REGIONS {
        bail!("the sparse map has more than {MAX_REGIONS} regions");
    }
    regions.push(region);
    Ok(())
}

/// A decimal number without sign.
pub(super) fn decimal(digits: &[u8]) -> Result<u64> {
    let shown = || format!("expected a number, found \"{}\"", digits.escape_ascii());
    if !digits.iter().all(u8::is_ascii_digit) {
        bail!("{}", shown());
    }
    str::from_utf8(digits)?.parse().with_context(shown)
}

/// Read a map of version 1.0, which comes in front of the file's data: lines with the
/// number of regions, then the offset and the length of each, filled up to a whole
/// block.
pub(super) fn read_map(data: &mut impl Read) -> Result<Vec<Region>> {
    let block = [0; BLOCK as usize];
    let mut lines = Lines { data, block, at: block.len() };
    let count = lines.number()?;
    let mut regions = Vec::new();
    for _ in 0..count {
        let (offset, length) = (lines.number()?, lines.number()?);
        push(&mut regions, Region { offset, length })?;
    }
    Ok(regions)
}

/// Lines with numbers, read by whole blocks.
struct Lines<R> {
    data: R,
    block: [u8; BLOCK as usize],
    /// The position in the block.
    at: usize,
}

impl<R: Read> Lines<R> {
    fn number(&mut self) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == self.block.len() {
                let read = self.data.read_exact(&mut self.block);
                read.context("damaged sparse map: it is longer than the data")?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return decimal(&digits).context("damaged sparse map");
            }
            digits.push(byte);
            // 2^64 has 20 digits.
            if digits.len() > 20 {
                bail!("damaged sparse map: expected a number in a line");
            }
        }
    }
}

/// Read the size and the map of an entry of type `S`: four regions in the header, and 21
/// in each block that follows it.
///
/// # Source
/// tar(5) of libarchive, "GNU Tar Archives"
pub(super) fn read_old_map(
    header: &Header,
    mut next_block: impl FnMut() -> Result<Header>,
) -> Result<(u64, Vec<Region>)> {
    if !header.is_gnu() {
        bail!("entry type \"S\" in an archive that is not in GNU format");
    }
    let mut regions = Vec::new();
    let mut ended = false;
    let mut take = |fields: &[u8]| -> Result<()> {
        for field in fields.chunks(24) {
            let part = |field: &[u8]| -> Result<Option<u64>> {
                let number = number(field).context("damaged sparse map")?;
                number.map(u64::try_from).transpose().context("a negative number")
            };
            match (part(&field[..12])?, part(&field[12..])?) {
                (Some(offset), Some(length)) if !ended => {
                    push(&mut regions, Region { offset, length })?;
                }
                (None, None) => ended = true,
                _ => bail!("damaged sparse map: a region follows its end"),
            }
        }
        Ok(())
    };
    take(&header.0[386..482])?;
    let mut more = header.0[482] != 0;
    while more {
        let block = next_block()?;
        take(&block.0[..504])?;
        more = block.0[504] != 0;
    }
    let size = number(&header.0[483..495])?.context("the file's size is missing")?;
    Ok((u64::try_from(size).context("a negative size")?, regions))
}
