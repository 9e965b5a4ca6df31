//! No union at all: all layers copied into one tree, as early containers were made.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, symlink,
};
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::state::remove_tree;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::libc::O_NOFOLLOW;
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{SeekFrom, ioctl_ficlone, lgetxattr, seek};

use crate::Union;
use crate::attributes::keep;

// ANCHOR: mount
/// Fill the upper directory, unless an earlier run has, and bind it.
///
/// In the child, since its host side answers signals meanwhile: a copy may take
/// long.
pub(crate) fn mount(union: &Union, at: &Path, user_namespace: bool) -> Result<()> {
    let upper = &union.upper;
    let mut entries =
        fs::read_dir(upper).look(|| format!("readdir(3) {}", upper.display()))?;
    if entries.next().is_none() {
        fill(union, user_namespace)?;
    }
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    nix::mount::mount(Some(upper), at, None::<&str>, bind, None::<&str>)
        .step(|| format!("mount(2) bind {} on {}", upper.display(), at.display()))
}

/// Copy all layers, the lowest first, in the work directory, and rename the tree when it
/// is whole.
fn fill(union: &Union, user_namespace: bool) -> Result<()> {
    let Union { lower, upper, work, .. } = union;
    let tree = work.join("copy");
    // What a run left that was killed.
    if tree.exists() {
        remove_tree(&tree)?;
    }
    let mut copy = Copy { user_namespace, ..Copy::default() };
    let filled = copy.layers(lower, &tree).and_then(|()| {
        // The root of the merged tree is the upper one's, as in a union.
        let about = fs::symlink_metadata(upper)
            .look(|| format!("lstat(2) {}", upper.display()))?;
        keep(&about, upper, &tree, user_namespace)?;
        let Copy { files, reflinks, .. } = copy;
        let (from, to) = (tree.display(), upper.display());
        fs::rename(&tree, upper)
            .step(|| {
                format!(
                    "rename(2) {from} to {to}: {files} files, {reflinks} reflinks"
                )
            })
            .hint(in_the_way)
    });
    if filled.is_err() {
        // Half a copy is of no use, and perhaps the disk is full of it. Why it is
        // half one is what the user must read.
        let _ = remove_tree(&tree);
    }
    filled
}
// ANCHOR_END: mount

/// Why the copy could not be renamed.
fn in_the_way(errno: Errno) -> Option<String> {
    matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EBUSY).then(|| {
        "the copy takes the place of the upper directory, which must be no mount, \
         and the directory around it yours to write"
            .to_owned()
    })
}

/// A copy under way.
#[derive(Default)]
struct Copy {
    /// Where the first of a file's many names was copied to, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    user_namespace: bool,
    files: u64,
    reflinks: u64,
}

impl Copy {
    /// All layers into a new directory.
    fn layers(&mut self, lower: &[PathBuf], tree: &Path) -> Result<()> {
        make_directory(tree)?;
        for layer in lower.iter().rev() {
            self.links.clear();
            self.inside(layer, tree)?;
        }
        Ok(())
    }

    /// Everything in `from` into `to`, over what a lower layer has put there.
    fn inside(&mut self, from: &Path, to: &Path) -> Result<()> {
        let entries =
            fs::read_dir(from).look(|| format!("readdir(3) {}", from.display()))?;
        for entry in entries {
            let entry = entry.look(|| format!("readdir(3) {}", from.display()))?;
            self.entry(&entry.path(), &to.join(entry.file_name()))?;
        }
        Ok(())
    }

    fn entry(&mut self, from: &Path, to: &Path) -> Result<()> {
        let about = fs::symlink_metadata(from)
            .look(|| format!("lstat(2) {}", from.display()))?;
        let there = fs::symlink_metadata(to).ok();
        let merges = about.is_dir()
            && there.as_ref().is_some_and(Metadata::is_dir)
            && !is_opaque(from);
        // Upper hides lower. Also, what is written next must not go where a symlink
        // of the lower layer leads.
        if there.is_some() && !merges {
            remove_tree(to)?;
        }
        if is_whiteout(&about) {
            return Ok(());
        }
        if about.is_dir() {
            if !merges {
                make_directory(to)?;
            }
            self.inside(from, to)?;
        } else if about.nlink() > 1 {
            let file = (about.dev(), about.ino());
            if let Some(first) = self.links.get(&file) {
                return fs::hard_link(first, to).look(|| {
                    format!("link(2) {} to {}", first.display(), to.display())
                });
            }
            self.links.insert(file, to.to_owned());
            self.leaf(&about, from, to)?;
        } else {
            self.leaf(&about, from, to)?;
        }
        keep(&about, from, to, self.user_namespace)
    }

    /// What is no directory.
    fn leaf(&mut self, about: &Metadata, from: &Path, to: &Path) -> Result<()> {
        let kind = about.file_type();
        if kind.is_file() {
            self.files += 1;
            self.reflinks += u64::from(file(from, to)?);
            Ok(())
        } else if kind.is_symlink() {
            let target = fs::read_link(from)
                .look(|| format!("readlink(2) {}", from.display()))?;
            symlink(&target, to).look(|| format!("symlink(2) {}", to.display()))
        } else {
            let kind = SFlag::from_bits_truncate(about.mode());
            mknod(to, kind, Mode::S_IRUSR | Mode::S_IWUSR, about.rdev())
                .look(|| format!("mknod(2) {} as {}", to.display(), from.display()))
                .hint(|errno| {
                    (errno == Errno::EPERM).then(|| {
                        "only real root makes devices: overlay needs none made, \
                         --driver overlay"
                            .to_owned()
                    })
                })
        }
    }
}

// ANCHOR: file
/// Copy a file's bytes into a new file, holes as holes; true when the two now share
/// them on the disk.
///
/// # Errors
/// Those of open(2), lseek(2), write(2).
pub fn file(from: &Path, to: &Path) -> Result<bool> {
    let options = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).clone();
    let mut source =
        options.open(from).look(|| format!("open(2) {}", from.display()))?;
    let options =
        OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
    let mut new = options.open(to).look(|| format!("open(2) {}", to.display()))?;
    // btrfs, xfs and a few others can share blocks until one side writes. Others
    // refuse in many ways: EOPNOTSUPP, EXDEV, EINVAL, ENOTTY.
    if ioctl_ficlone(&new, &source).is_ok() {
        return Ok(true);
    }
    bytes(&mut source, &mut new)
        .look(|| format!("write(2) {} from {}", to.display(), from.display()))?;
    Ok(false)
}

/// Only what is there: lseek(2) finds where a file has data.
fn bytes(source: &mut File, new: &mut File) -> io::Result<()> {
    let length = source.metadata()?.len();
    new.set_len(length)?;
    let mut at = 0;
    while at < length {
        at = match seek(&*source, SeekFrom::Data(at)) {
            // A hole to the end.
            Err(rustix::io::Errno::NXIO) => break,
            data => data?,
        };
        let end = seek(&*source, SeekFrom::Hole(at))?;
        source.seek(io::SeekFrom::Start(at))?;
        new.seek(io::SeekFrom::Start(at))?;
        // By copy_file_range(2) where it can: the bytes never leave the kernel.
        io::copy(&mut Read::by_ref(source).take(end - at), new)?;
        at = end;
    }
    Ok(())
}
// ANCHOR_END: file

/// Make a directory, closed to others until all that belongs into it is there.
///
/// # Errors
/// Those of mkdir(2).
pub fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .look(|| format!("mkdir(2) {}", path.display()))
}

/// A character device 0, 0 in a layer stands for a file that was removed.
#[must_use]
pub fn is_whiteout(about: &Metadata) -> bool {
    about.file_type().is_char_device() && about.rdev() == 0
}

/// Whether a directory of a layer hides what lies below it.
fn is_opaque(path: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        let mut value = [0; 8];
        lgetxattr(path, *name, &mut value[..]).is_ok_and(|n| &value[..n] == b"y")
    })
}
