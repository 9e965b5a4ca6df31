//! A write layer becomes a layer of an image: copied as it is, in overlayfs's words.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Result;
use ch02_union::{Driver, copy_file, is_whiteout, keep, make_directory};
use common::hints;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};

/// Reads layers: what they say about those below them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    /// aufs has other words for it than overlayfs.
    pub(crate) aufs: bool,
    /// Whether the layer was written in a user namespace.
    pub(crate) user_namespace: bool,
}

/// What an entry of a layer stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Itself.
    File,
    /// Below this layer there is nothing of this name.
    Whiteout(PathBuf),
    /// The driver's own book-keeping.
    Nothing,
}

/// aufs's words: `.wh.NAME` for a file that was removed, and three of its own.
const AUFS: &str = ".wh.";
const AUFS_OWN: &str = ".wh..wh.";

impl Reader {
    /// The attribute by which a directory hides what lies below it.
    fn opaque(self) -> &'static str {
        if self.user_namespace {
            "user.overlay.opaque"
        } else {
            "trusted.overlay.opaque"
        }
    }

    pub(crate) fn is_opaque(self, directory: &Path) -> bool {
        if self.aufs {
            return directory.join(".wh..wh..opq").exists();
        }
        let mut value = [0; 8];
        let found = lgetxattr(directory, self.opaque(), &mut value[..]);
        found.is_ok_and(|length| &value[..length] == b"y")
    }

    pub(crate) fn meaning(self, path: &Path, about: &Metadata) -> Meaning {
        if is_whiteout(about) {
            return Meaning::Whiteout(path.to_owned());
        }
        let name = path.file_name().and_then(|name| name.to_str());
        match name.and_then(|name| name.strip_prefix(AUFS)).filter(|_| self.aufs) {
            None => Meaning::File,
            Some(_) if name.is_some_and(|name| name.starts_with(AUFS_OWN)) => {
                Meaning::Nothing
            }
            Some(hidden) => Meaning::Whiteout(path.with_file_name(hidden)),
        }
    }
}

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
pub(crate) fn copy(
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

/// What in this layer of an image hides something of the layers below it: the first
/// whiteout or opaque directory.
pub(crate) fn hides(layer: &Path) -> Result<Option<PathBuf>> {
    let step = || format!("readdir(3) {}", layer.display());
    for entry in fs::read_dir(layer).look(step)? {
        let path = entry.look(step)?.path();
        let about = fs::symlink_metadata(&path)
            .look(|| format!("lstat(2) {}", path.display()))?;
        if is_whiteout(&about) {
            return Ok(Some(path));
        }
        if about.is_dir() {
            let reader = |user_namespace| Reader { aufs: false, user_namespace };
            if [true, false].iter().any(|user| reader(*user).is_opaque(&path)) {
                return Ok(Some(path));
            }
            if let Some(below) = hides(&path)? {
                return Ok(Some(below));
            }
        }
    }
    Ok(None)
}

fn node(path: &Path, kind: SFlag, device: u64) -> Result<()> {
    mknod(path, kind, Mode::S_IRUSR | Mode::S_IWUSR, device)
        .look(|| format!("mknod(2) {}", path.display()))
}

pub(crate) fn is(error: &anyhow::Error, errno: Errno) -> bool {
    let cause = error.root_cause();
    cause.downcast_ref() == Some(&errno)
        || cause
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.raw_os_error() == Some(errno as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_aufs_are_told_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let reader = |aufs| Reader { aufs, user_namespace: true };
        for (name, meaning) in [
            ("a", Meaning::File),
            (".wh.a", Meaning::Whiteout(dir.path().join("a"))),
            (".wh..wh..opq", Meaning::Nothing),
            (".wh..wh.plnk", Meaning::Nothing),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            let about = fs::symlink_metadata(&path).unwrap();
            assert_eq!(reader(true).meaning(&path, &about), meaning);
            // In overlayfs these are names as any.
            assert_eq!(reader(false).meaning(&path, &about), Meaning::File);
        }
        assert!(reader(true).is_opaque(dir.path()));
        assert!(!reader(false).is_opaque(dir.path()));
    }
}
