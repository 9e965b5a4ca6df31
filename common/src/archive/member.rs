//! The entries of an archive, each with everything that its headers state.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::sys::time::TimeSpec;

use super::escape::escaped;
use super::header::{BLOCK, Header};
use super::pax::{self, Pax, Scope};
use super::sparse::{self, Map, MapLocation};
use crate::cli::step::Step;

/// The kinds of files that an archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
}

/// One file of the archive.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) time: TimeSpec,
    /// The target of a link.
    pub(super) link: PathBuf,
    /// Major and minor number.
    pub(super) device: (u64, u64),
    /// Extended attributes.
    pub(super) attributes: Vec<(String, Vec<u8>)>,
    /// The data consists of these regions of the file.
    pub(super) map: Option<Map>,
}

/// Reads an archive from its start to its end. Between two calls of [`Members::next`]
/// this is a reader of the current entry's data.
pub(super) struct Members<R> {
    from: R,
    /// Bytes of the current entry's data that were not read yet.
    rest: u64,
    /// Zeros between the data and the next header.
    padding: u64,
    /// The properties that global headers state for all entries.
    global: Pax,
    /// Whether an end mark ends only a section of the archive.
    sections: bool,
    /// Whether a header was read.
    begun: bool,
}

/// The headers that come before the entry that they describe.
#[derive(Default)]
struct PendingHeaders {
    extended: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> Members<R> {
    pub(super) fn new(from: R, sections: bool) -> Members<R> {
        let global = Pax::default();
        Members { from, rest: 0, padding: 0, global, sections, begun: false }
    }

    /// Skip the rest of the current entry and read the next one. `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Member>> {
        let mut before = PendingHeaders::default();
        while let Some(header) = self.header()? {
            let slot = match header.flag() {
                b'x' => &mut before.extended,
                b'L' => &mut before.name,
                b'K' => &mut before.link,
                b'g' => {
                    let text = self.whole(&header).context("global header")?;
                    let added = self.global.add(&text, Scope::AllEntries);
                    added.context("global header")?;
                    continue;
                }
                // The name of the whole archive.
                b'V' => {
                    self.start(header.size()?)?;
                    continue;
                }
                _ => {
                    let name = before.shown(&header);
                    let member = self.member(&header, before);
                    return member
                        .with_context(|| format!("entry {name}"))
                        .map(Some);
                }
            };
            if slot.is_some() {
                bail!("two extended headers of one type for one entry");
            }
            *slot = Some(self.whole(&header).context("extended header")?);
        }
        if before.any() {
            bail!("the archive ends after an extended header, without its entry");
        }
        Ok(None)
    }

    /// Read up to the end of the file: the program that compressed the archive may put
    /// a checksum there.
    pub(super) fn drain(&mut self) -> Result<()> {
        io::copy(&mut self.from, &mut io::sink())
            .untraced(|| "read(2) the archive")?;
        Ok(())
    }

    /// The next header. `None` at the archive's end.
    fn header(&mut self) -> Result<Option<Header>> {
        let rest = self.rest + self.padding;
        let skipped = io::copy(&mut (&mut self.from).take(rest), &mut io::sink());
        if skipped.untraced(|| "read(2) the archive")? != rest {
            bail!("the archive is truncated inside an entry");
        }
        (self.rest, self.padding) = (0, 0);
        loop {
            let Some(header) = self.block()? else {
                if self.sections {
                    return Ok(None);
                }
                bail!("the archive is truncated: it has no end mark");
            };
            if header.is_zero() {
                if self.sections {
                    continue;
                }
                return Ok(None);
            }
            if !header.checksum_is_right() {
                bail!(match self.begun {
                    false => "not a tar archive",
                    true => "damaged archive: the checksum of a header is wrong",
                });
            }
            if !header.format_is_known() {
                bail!("damaged archive: the format of a header is unknown");
            }
            self.begun = true;
            return Ok(Some(header));
        }
    }

    /// One block. `None` if the file ends in front of it.
    fn block(&mut self) -> Result<Option<Header>> {
        let mut bytes = Vec::with_capacity(BLOCK as usize);
        let read = (&mut self.from).take(BLOCK).read_to_end(&mut bytes);
        read.untraced(|| "read(2) the archive")?;
        if bytes.is_empty() {
            return Ok(None);
        }
        match bytes.try_into() {
            Ok(block) => Ok(Some(Header(block))),
            Err(_) if !self.begun => {
                bail!("not a tar archive: it is shorter than one block")
            }
            Err(_) => bail!("the archive is truncated inside a block"),
        }
    }

    /// Start an entry whose data has this size.
    fn start(&mut self, size: u64) -> Result<()> {
        if size > i64::MAX as u64 {
            bail!("a size of {size} bytes is too large");
        }
        self.rest = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(())
    }

    /// Read all data of an extended header.
    fn whole(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > pax::MAX_HEADER {
            bail!("its {size} bytes are more than the maximum, {}", pax::MAX_HEADER);
        }
        self.start(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).untraced(|| "read(2) the archive")?;
        Ok(bytes)
    }

    fn member(&mut self, header: &Header, before: PendingHeaders) -> Result<Member> {
        let mut pax = Pax::default();
        if let Some(text) = &before.extended {
            pax.add(text, Scope::NextEntry)?;
        }
        let (sparse_name, path) = (pax.sparse.name.take(), pax.path.take());
        let path = sparse_name
            .or(path)
            .or_else(|| before.name.map(without_end))
            .unwrap_or_else(|| header.name());
        let kind = kind(header.flag(), &path)?;
        let link = pax.link.take().or_else(|| before.link.map(without_end));
        let (major, minor) = match kind {
            Kind::Character | Kind::Block => header.device()?,
            _ => (0, 0),
        };
        let size = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        if size > 0 && kind != Kind::File {
            bail!("it has {size} bytes of data, but only a regular file has data");
        }
        self.start(size)?;
        let map = self.map(header, pax.sparse, kind)?;
        let uid = pax.uid.or(self.global.uid).map_or_else(|| header.uid(), Ok)?;
        let gid = pax.gid.or(self.global.gid).map_or_else(|| header.gid(), Ok)?;
        Ok(Member {
            path: name(path)?,
            kind,
            mode: header.mode()?,
            uid: owner(uid).context("uid")?,
            gid: owner(gid).context("gid")?,
            time: match pax.time.or(self.global.time) {
                Some(time) => time,
                None => TimeSpec::new(header.mtime()?, 0),
            },
            link: name(link.unwrap_or_else(|| header.link()))?,
            device: (pax.major.unwrap_or(major), pax.minor.unwrap_or(minor)),
            attributes: pax.attributes,
            map,
        })
    }

    /// The map of a sparse file. If the map comes in front of the data, it is read
    /// here.
    fn map(
        &mut self,
        header: &Header,
        keywords: sparse::Keywords,
        kind: Kind,
    ) -> Result<Option<Map>> {
        let found = keywords.finish()?;
        if header.flag() == b'S' {
            if found.is_some() {
                bail!("two sparse maps for one file");
            }
            // The blocks of the map do not count as data.
            let next_block = || self.block()?.context("the archive is truncated");
            let (size, regions) = sparse::read_old_map(header, next_block)?;
            return Map::new(size, regions, self.rest).map(Some);
        }
        let Some((size, place)) = found else { return Ok(None) };
        if kind != Kind::File {
            bail!("pax keyword GNU.sparse: only a regular file has holes");
        }
        let regions = match place {
            MapLocation::Keywords(regions) => regions,
            MapLocation::Data => sparse::read_map(self)?,
        };
        Map::new(size, regions, self.rest).map(Some)
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX).min(into.len());
        let count = self.from.read(&mut into[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::other(
                "the archive is truncated inside an entry",
            ));
        }
        self.rest -= count as u64;
        Ok(count)
    }
}

impl PendingHeaders {
    fn any(&self) -> bool {
        self.extended.is_some() || self.name.is_some() || self.link.is_some()
    }

    /// The entry's name for an error, before it is known whether the headers are right.
    fn shown(&self, header: &Header) -> String {
        let extended = self.extended.as_deref().and_then(pax::name);
        extended.unwrap_or_else(|| {
            let long = self.name.clone().map(without_end);
            escaped(&OsString::from_vec(long.unwrap_or_else(|| header.name())))
        })
    }
}

fn kind(flag: u8, path: &[u8]) -> Result<Kind> {
    Ok(match flag {
        // The first archives had no type for directories.
        b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'D' => bail!("entry type \"D\": incremental archives are not supported"),
        b'M' => bail!(
            "entry type \"M\": a file that is split over several archives is not \
             supported"
        ),
        flag => bail!("unknown entry type \"{}\"", flag.escape_ascii()),
    })
}

/// GNU tar ends a long name by a NUL.
fn without_end(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

fn name(bytes: Vec<u8>) -> Result<PathBuf> {
    if bytes.contains(&0) {
        bail!("invalid entry name: it contains a NUL byte");
    }
    Ok(OsString::from_vec(bytes).into())
}

/// For chown(2), the largest number means "no change".
fn owner(id: u64) -> Result<u32> {
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => bail!("{id} is too large"),
    }
}
