//! The journal of a disk, as QEMU's filter blklogwrites keeps it: each write, and each
//! flush, in the order in which they were done.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::disk::{BLOCK, BLOCKS, marked};

/// All sizes of the journal are in these.
const SECTOR: u64 = 512;

/// Flags of an entry.
///
/// # Source
/// Documentation/admin-guide/device-mapper/log-writes.rst
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// A write; a flush has no length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Bytes from the disk's start.
    offset: u64,
    length: u64,
    flags: u64,
    /// Where in the journal its data are.
    data: u64,
}

pub(crate) struct Journal {
    file: File,
    pub(crate) entries: Vec<Entry>,
}

impl Journal {
    /// Read which entries there are. Their number in the first sector may be an old
    /// one: they end where the first is that can't be one.
    pub(crate) fn read(file: File) -> Journal {
        let word = |bytes: &[u8], at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
        };
        let mut head = [0; SECTOR as usize];
        file.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(word(&head, 0), 0x6a_7366_7773_6872, "no journal");
        let mut entries = Vec::new();
        let mut at = SECTOR;
        while file.read_exact_at(&mut head, at).is_ok() {
            let [sector, sectors, flags] = [0, 8, 16].map(|at| word(&head, at));
            let end = (sector + sectors) * SECTOR;
            if (sectors == 0 && flags == 0) || end > ((BLOCKS + 1) * BLOCK) as u64 {
                break;
            }
            at += SECTOR;
            let (offset, length) = (sector * SECTOR, sectors * SECTOR);
            entries.push(Entry { offset, length, flags, data: at });
            if flags & DISCARD == 0 {
                at += length;
            }
        }
        Journal { file, entries }
    }

    /// Where in the journal it is told how many steps were done.
    pub(crate) fn marks(&self) -> Vec<(usize, u64)> {
        let of = |(at, entry): (usize, &Entry)| {
            let end = (BLOCKS * BLOCK) as u64;
            let is = entry.offset == end && entry.length == BLOCK as u64;
            let number = is.then(|| marked(end, &self.data(entry))).flatten();
            number.map(|number| (at, number))
        };
        self.entries.iter().enumerate().filter_map(of).collect()
    }

    fn data(&self, entry: &Entry) -> Vec<u8> {
        let mut data = vec![0; entry.length as usize];
        if entry.flags & DISCARD == 0 {
            self.file.read_exact_at(&mut data, entry.data).unwrap();
        }
        data
    }

    fn apply(&self, entry: &Entry, disk: &mut [u8]) {
        let (start, data) = (entry.offset as usize, self.data(entry));
        disk[start..start + data.len()].copy_from_slice(&data);
    }
}

/// A disk on the way through its journal.
pub(crate) struct Replay<'a> {
    journal: &'a Journal,
    /// What a flush has brought to the disk.
    safe: Vec<u8>,
    /// The first entry that is not in it.
    next: usize,
}

impl Replay<'_> {
    pub(crate) fn new(journal: &Journal) -> Replay<'_> {
        Replay { journal, safe: vec![0; (BLOCKS + 1) * BLOCK], next: 0 }
    }

    /// The disk when the power failed before this entry, which is none before those
    /// that were asked for. What was written after the last flush is there as far as
    /// `kept` says so.
    pub(crate) fn at(
        &mut self,
        end: usize,
        mut kept: impl FnMut() -> bool,
    ) -> Vec<u8> {
        let entries = &self.journal.entries;
        let flushed =
            (self.next..end).rev().find(|&at| entries[at].flags & FLUSH != 0);
        if let Some(flushed) = flushed {
            for entry in &entries[self.next..=flushed] {
                self.journal.apply(entry, &mut self.safe);
            }
            self.next = flushed + 1;
        }
        let mut disk = self.safe.clone();
        for entry in &entries[self.next..end] {
            if entry.flags & FUA != 0 || kept() {
                self.journal.apply(entry, &mut disk);
            }
        }
        disk
    }
}
