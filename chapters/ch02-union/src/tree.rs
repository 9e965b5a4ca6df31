//! Copy a directory tree, with hard links, holes, attributes and special files.
//!
//! Both the driver `copy` and commit copy layers. They treat some entries
//! differently, so each has its own [`CopyRules`].

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, symlink,
};
use std::path::{Path, PathBuf};

use anyhow::{Error, Result};
use common::cli::slow;
use common::step::Step;
use nix::libc::O_NOFOLLOW;
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{SeekFrom, ioctl_ficlone, seek};

use crate::attributes::copy_attributes;

/// The number of bytes that are copied at a time.
const PIECE: u64 = 64 << 20;

/// The action for an entry of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryAction {
    /// The entry is not copied: it is a marker, not a file.
    Skip,
    /// The entry is a directory that exists in the target. Only its entries are
    /// copied.
    Merge,
    /// The entry is copied.
    Copy,
}

/// The rules that select the action for each entry.
pub trait CopyRules {
    /// The action for the entry `from`, whose path in the target is `to`.
    ///
    /// # Errors
    /// Any error ends the copy.
    fn action(
        &self,
        from: &Path,
        about: &Metadata,
        to: &Path,
    ) -> Result<EntryAction>;

    /// Called after all entries of a directory were copied.
    ///
    /// # Errors
    /// Any error ends the copy.
    fn filled(&self, _from: &Path, _to: &Path) -> Result<()> {
        Ok(())
    }

    /// Whether the copy continues after this error.
    fn tolerates(&self, _from: &Path, _error: &Error) -> bool {
        false
    }
}

/// A copy in progress.
pub struct TreeCopy<R> {
    rules: R,
    /// The first copy of each file with several names, by device and inode of the
    /// original.
    links: HashMap<(u64, u64), PathBuf>,
    /// Whether attributes that only the host's root may set are left out.
    user_namespace: bool,
    /// The number of regular files.
    pub files: u64,
    /// The number of files that share their blocks with the original.
    pub reflinks: u64,
    /// The size of all regular files, in bytes.
    pub bytes: u64,
}

impl<R: CopyRules> TreeCopy<R> {
    /// Create a copy with these rules.
    #[must_use]
    pub fn new(rules: R, user_namespace: bool) -> TreeCopy<R> {
        let links = HashMap::new();
        TreeCopy { rules, links, user_namespace, files: 0, reflinks: 0, bytes: 0 }
    }

    /// Copy the entries of the directory `from` into the directory `to`. Hard links
    /// are kept within one call.
    ///
    /// # Errors
    /// An errno of readdir(3), open(2), write(2), link(2), mknod(2) or of setting
    /// attributes; any error of the rules.
    pub fn tree(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.links.clear();
        self.inside(from, to)
    }

    fn inside(&mut self, from: &Path, to: &Path) -> Result<()> {
        let step = || format!("readdir(3) {}", from.display());
        for entry in fs::read_dir(from).untraced(step)? {
            let entry = entry.untraced(step)?;
            let path = entry.path();
            match self.entry(&path, &to.join(entry.file_name())) {
                Err(error) if self.rules.tolerates(&path, &error) => {}
                copied => copied?,
            }
        }
        self.rules.filled(from, to)
    }

    // ANCHOR: entry
    fn entry(&mut self, from: &Path, to: &Path) -> Result<()> {
        let about = fs::symlink_metadata(from)
            .untraced(|| format!("lstat(2) {}", from.display()))?;
        let action = self.rules.action(from, &about, to)?;
        if action == EntryAction::Skip {
            return Ok(());
        }
        if about.is_dir() {
            if action == EntryAction::Copy {
                make_directory(to)?;
            }
            self.inside(from, to)?;
        } else if about.nlink() > 1 {
            let file = (about.dev(), about.ino());
            if let Some(first) = self.links.get(&file) {
                return fs::hard_link(first, to).untraced(|| {
                    format!("link(2) {} to {}", first.display(), to.display())
                });
            }
            self.leaf(&about, from, to)?;
            self.links.insert(file, to.to_owned());
        } else {
            self.leaf(&about, from, to)?;
        }
        copy_attributes(&about, from, to, self.user_namespace)
    }
    // ANCHOR_END: entry

    /// Copy a file that is not a directory, without its attributes.
    fn leaf(&mut self, about: &Metadata, from: &Path, to: &Path) -> Result<()> {
        let kind = about.file_type();
        if kind.is_file() {
            self.files += 1;
            self.bytes += about.len();
            self.reflinks += u64::from(copy_file(from, to)?);
            return Ok(());
        }
        if kind.is_symlink() {
            let target = fs::read_link(from)
                .untraced(|| format!("readlink(2) {}", from.display()))?;
            return symlink(&target, to)
                .untraced(|| format!("symlink(2) {}", to.display()));
        }
        // A copied socket has no listener, but its file is kept. Its device number
        // has no meaning.
        let device = if kind.is_socket() { 0 } else { about.rdev() };
        let kind = SFlag::from_bits_truncate(about.mode()) & SFlag::S_IFMT;
        mknod(to, kind, Mode::S_IRUSR | Mode::S_IWUSR, device)
            .untraced(|| format!("mknod(2) {} as {}", to.display(), from.display()))
    }
}

// ANCHOR: copy_file
/// Copy a file's bytes into a new file, and keep holes. Returns whether the two
/// files share their blocks on the disk (a reflink).
///
/// # Errors
/// An errno of open(2), lseek(2) or write(2). EEXIST if the new file exists already,
/// ELOOP if `from` is a symlink.
pub fn copy_file(from: &Path, to: &Path) -> Result<bool> {
    let options = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).clone();
    let mut source =
        options.open(from).untraced(|| format!("open(2) {}", from.display()))?;
    let options =
        OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
    let mut new =
        options.open(to).untraced(|| format!("open(2) {}", to.display()))?;
    // btrfs, xfs and a few others can share blocks until one side writes. Other filesystems
    // fail with different errnos: EOPNOTSUPP, EXDEV, EINVAL, ENOTTY.
    if ioctl_ficlone(&new, &source).is_ok() {
        return Ok(true);
    }
    bytes(&mut source, &mut new)
        .untraced(|| format!("write(2) {} from {}", to.display(), from.display()))?;
    Ok(false)
}

/// Copy only the ranges that contain data. lseek(2) finds these ranges.
fn bytes(source: &mut File, new: &mut File) -> io::Result<()> {
    let length = source.metadata()?.len();
    new.set_len(length)?;
    let mut at = 0;
    while at < length {
        at = match seek(&*source, SeekFrom::Data(at)) {
            // There is no more data: the rest is a hole.
            Err(rustix::io::Errno::NXIO) => break,
            data => data?,
        };
        let end = seek(&*source, SeekFrom::Hole(at))?;
        source.seek(io::SeekFrom::Start(at))?;
        new.seek(io::SeekFrom::Start(at))?;
        // io::copy uses copy_file_range(2) if possible, so that the bytes stay in
        // the kernel.
        let piece = (end - at).min(PIECE);
        io::copy(&mut Read::by_ref(source).take(piece), new)?;
        slow::count(piece);
        at += piece;
    }
    Ok(())
}
// ANCHOR_END: copy_file

/// Create a directory that only the owner may use. The final mode is set after the
/// directory is filled.
///
/// # Errors
/// An errno of mkdir(2).
pub fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .untraced(|| format!("mkdir(2) {}", path.display()))
}
