//! The journal of a disk that QEMU's filter blklogwrites records: each write and each
//! flush, in order.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::disk::{BLOCK, BLOCKS, marked};

/// The unit of all sizes in the journal, in bytes.
const SECTOR: u64 = 512;

/// Flags of an entry.
///
/// # Source
/// Documentation/admin-guide/device-mapper/log-writes.rst
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// A write, or a flush, whose length is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Bytes from the disk's start.
    offset: u64,
    length: u64,
    flags: u64,
    /// The position of its data in the journal.
    data: u64,
}

pub(crate) struct Journal {
    file: File,
    pub(crate) entries: Vec<Entry>,
}

impl Journal {
    /// Read the entries. The number of entries in the first sector may be out of date, so
    /// they end at the first invalid entry.
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

    /// The marks: the index of the entry, and the number of completed steps.
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

/// The state of a disk while its journal is replayed.
pub(crate) struct Replay<'a> {
    journal: &'a Journal,
    /// The flushed content of the disk.
    safe: Vec<u8>,
    /// The first entry that is not in the flushed content.
    next: usize,
}

impl Replay<'_> {
    pub(crate) fn new(journal: &Journal) -> Replay<'_> {
        Replay { journal, safe: vec![0; (BLOCKS + 1) * BLOCK], next: 0 }
    }

    /// The disk if the power fails before this entry, which must not be before the entry of
    /// an earlier call. `kept` decides for each write after the last flush whether it is on
    /// the disk.
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
