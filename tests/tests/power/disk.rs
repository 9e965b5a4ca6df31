//! Disks by their names, a filesystem with a journal, and marks on a disk.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc::O_DIRECT;
use nix::mount::{MsFlags, mount, umount};

use crate::PLACE;

/// The size of a block in bytes, and the number of blocks of the filesystem. One more
/// block behind them contains the mark.
pub(crate) const BLOCK: usize = 4096;
pub(crate) const BLOCKS: usize = 6144;

/// The minimum number of blocks of a journal.
///
/// # Source
/// include/linux/jbd2.h, "JBD2_MIN_JOURNAL_BLOCKS"
const JOURNAL: usize = 1024;

/// The disk with this serial number in QEMU.
pub(crate) fn named(name: &str) -> PathBuf {
    let disks = fs::read_dir("/sys/block").unwrap().flatten();
    let is = |path: &PathBuf| {
        fs::read_to_string(path.join("serial")).is_ok_and(|it| it.trim() == name)
    };
    let found = disks.map(|entry| entry.path()).find(is);
    let found = found.unwrap_or_else(|| panic!("there is no disk {name}"));
    Path::new("/dev").join(found.file_name().unwrap())
}

/// Mount the disk. Only synced data are written to it.
pub(crate) fn attach(disk: &Path) -> nix::Result<()> {
    with(disk, Some("commit=100000"))
}

fn with(disk: &Path, options: Option<&str>) -> nix::Result<()> {
    fs::create_dir_all(PLACE).unwrap();
    mount(Some(disk), PLACE, Some("ext4"), MsFlags::empty(), options)
}

pub(crate) fn detach() {
    umount(PLACE).expect("umount(2)");
}

/// Create a filesystem that is consistent after a power failure. busybox creates it
/// without a journal. A file is then made the journal.
///
/// # Source
/// Documentation/filesystems/ext4/journal.rst, super.rst
pub(crate) fn format(disk: &Path) {
    let kilobytes = (BLOCKS * BLOCK / 1024).to_string();
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-b", "4096", "-m", "0"]).arg(disk).arg(kilobytes);
    let made = mke2fs.output().expect("mke2fs");
    assert!(made.status.success(), "{made:?}");
    with(disk, None).expect("mount(2) without a journal");
    let mut journal = vec![0; JOURNAL * BLOCK];
    // Magic number, version, block size, number of blocks, first block of the log, next
    // sequence number, and one user.
    for (at, word) in [
        (0x00, 0xc03b_3998_u32),
        (0x04, 4),
        (0x0c, BLOCK as u32),
        (0x10, JOURNAL as u32),
        (0x14, 1),
        (0x18, 1),
        (0x40, 1),
    ] {
        journal[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
    let path = Path::new(PLACE).join(".journal");
    fs::write(&path, journal).unwrap();
    let inode = path.metadata().unwrap().ino() as u32;
    detach();
    let device = File::options().read(true).write(true).open(disk).unwrap();
    let change = |at: u64, with: &dyn Fn(u32) -> u32| {
        let mut word = [0; 4];
        device.read_exact_at(&mut word, 1024 + at).unwrap();
        let word = with(u32::from_le_bytes(word));
        device.write_all_at(&word.to_le_bytes(), 1024 + at).unwrap();
    };
    // The features: a journal and extended attributes.
    change(0x5c, &|features| features | 0x4 | 0x8);
    change(0xe0, &|_| inode);
    device.sync_all().unwrap();
}

/// Write the number of completed steps to the disk. This write is one of many, and does not
/// flush any other.
pub(crate) fn mark(disk: &Path, number: u64) {
    let mut buffer = vec![0; 2 * BLOCK];
    let start = buffer.as_ptr().align_offset(BLOCK);
    let block = &mut buffer[start..start + BLOCK];
    block[..16].copy_from_slice(&words(number));
    let mut options = File::options();
    let device = options.write(true).custom_flags(O_DIRECT).open(disk).unwrap();
    device.write_all_at(block, (BLOCKS * BLOCK) as u64).expect("write(2) the mark");
}

fn words(number: u64) -> [u8; 16] {
    let mut words = [0; 16];
    words[..8].copy_from_slice(b"the mark");
    words[8..].copy_from_slice(&number.to_le_bytes());
    words
}

/// The number of a mark.
pub(crate) fn marked(offset: u64, data: &[u8]) -> Option<u64> {
    let is = offset == (BLOCKS * BLOCK) as u64 && data.starts_with(b"the mark");
    is.then(|| u64::from_le_bytes(data[8..16].try_into().unwrap()))
}
