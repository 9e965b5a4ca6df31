//! A write layer becomes a layer of an image: copied as it is, in overlayfs's words.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Result;
use ch02_union::{Driver, copy_file, keep, make_directory};
use ch04_image::layer::{Meaning, Reader};
use common::hints;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{XattrFlags, lsetxattr};

/// A copy under way.
struct Copy {
    reader: Reader,
    /// Where the first of a file's many names was copied to.
    links: HashMap<(u64, u64), PathBuf>,
    bytes: u64,
}

/// Copy the write layer of a container of this driver; the bytes of its files.
///
/// Who runs meanwhile and isn't frozen may remove what was just listed: it is not
/// there then.
pub fn copy(
    from: &Path,
    to: &Path,
    driver: Driver,
    user_namespace: bool,
) -> Result<u64> {
    let reader = Reader { aufs: driver == Driver::Aufs, user_namespace };
    let mut copy = Copy { reader, links: HashMap::new(), bytes: 0 };
    copy.inside(from, to)?;
    let about = fs::symlink_metadata(from)
        .look(|| format!("lstat(2) {}", from.display()))?;
    keep(&about, from, to, user_namespace)?;
    Ok(copy.bytes)
}

impl Copy {
    fn inside(&mut self, from: &Path, to: &Path) -> Result<()> {
        let step = || format!("readdir(3) {}", from.display());
        for entry in fs::read_dir(from).look(step)? {
            let entry = entry.look(step)?;
            let path = entry.path();
            let copied = self.entry(&path, &to.join(entry.file_name()));
            match copied {
                Err(e)
                    if is(&e, Errno::ENOENT)
                        && !path.is_symlink()
                        && !path.exists() => {}
                copied => copied.hint(hints::state)?,
            }
        }
        if self.reader.is_opaque(from) {
            // As this process writes it the image will be read.
            let name = self.reader.opaque();
            lsetxattr(to, name, b"y", XattrFlags::empty())
                .look(|| format!("setxattr(2) {name} {}", to.display()))?;
        }
        Ok(())
    }

    // ANCHOR: entry
    fn entry(&mut self, from: &Path, to: &Path) -> Result<()> {
        let about = fs::symlink_metadata(from)
            .look(|| format!("lstat(2) {}", from.display()))?;
        match self.reader.meaning(from, &about) {
            Meaning::Nothing => return Ok(()),
            Meaning::Whiteout(hidden) => {
                let to = to.with_file_name(hidden.file_name().unwrap_or_default());
                return node(&to, SFlag::S_IFCHR, 0);
            }
            Meaning::File => {}
        }
        if about.is_dir() {
            make_directory(to)?;
            self.inside(from, to)?;
        } else if about.nlink() > 1 {
            let file = (about.dev(), about.ino());
            if let Some(first) = self.links.get(&file) {
                return fs::hard_link(first, to).look(|| {
                    format!("link(2) {} to {}", first.display(), to.display())
                });
            }
            self.leaf(&about, from, to)?;
            self.links.insert(file, to.to_owned());
        } else {
            self.leaf(&about, from, to)?;
        }
        keep(&about, from, to, self.reader.user_namespace)
    }
    // ANCHOR_END: entry

    /// What is no directory.
    fn leaf(&mut self, about: &Metadata, from: &Path, to: &Path) -> Result<()> {
        if about.is_file() {
            self.bytes += about.len();
            copy_file(from, to).map(drop)
        } else if about.is_symlink() {
            let target = fs::read_link(from)
                .look(|| format!("readlink(2) {}", from.display()))?;
            symlink(&target, to).look(|| format!("symlink(2) {}", to.display()))
        } else if about.mode() & SFlag::S_IFMT.bits() == SFlag::S_IFSOCK.bits() {
            // A socket is nothing without the process that listens.
            node(to, SFlag::S_IFSOCK, 0)
        } else {
            node(
                to,
                SFlag::from_bits_truncate(about.mode()) & SFlag::S_IFMT,
                about.rdev(),
            )
        }
    }
}

fn node(path: &Path, kind: SFlag, device: u64) -> Result<()> {
    mknod(path, kind, Mode::S_IRUSR | Mode::S_IWUSR, device)
        .look(|| format!("mknod(2) {}", path.display()))
}

/// Whether this errno is the cause of the error.
#[must_use]
pub fn is(error: &anyhow::Error, errno: Errno) -> bool {
    let cause = error.root_cause();
    cause.downcast_ref() == Some(&errno)
        || cause
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.raw_os_error() == Some(errno as i32))
}
