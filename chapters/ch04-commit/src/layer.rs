//! Copy a write layer to a layer of an image, with the markers of overlayfs.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result};
use ch02_union::{CopyRules, Driver, EntryAction, TreeCopy, copy_attributes};
use ch04_image::layer::{Meaning, Reader};
use common::hints;
use common::state::OWN_FILES;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{XattrFlags, lsetxattr};

/// The rules for copying a write layer: the markers of its driver become those of
/// overlayfs.
struct WriteLayer {
    reader: Reader,
    /// Mount points of the files that the host provides for the container. Empty if
    /// there are no such files.
    mount_points: Vec<PathBuf>,
}

/// Copy the write layer of a container with this driver. Returns the size of its
/// files in bytes. With `own_files`, empty mount points of [`OWN_FILES`] are left
/// out.
///
/// A process that is not frozen may remove an entry that was just listed. Then the
/// entry is left out.
///
/// # Errors
/// An errno of readdir(3), open(2), write(2), link(2) or mknod(2).
pub fn copy(
    from: &Path,
    to: &Path,
    driver: Driver,
    own_files: bool,
    user_namespace: bool,
) -> Result<u64> {
    let reader = Reader { aufs: driver == Driver::Aufs, user_namespace };
    let names = OWN_FILES.iter().filter(|_| own_files);
    let mount_points = names.map(|name| from.join("etc").join(name)).collect();
    let rules = WriteLayer { reader, mount_points };
    let mut copy = TreeCopy::new(rules, user_namespace);
    copy.tree(from, to).hint(hints::state)?;
    let about = fs::symlink_metadata(from)
        .untraced(|| format!("lstat(2) {}", from.display()))?;
    copy_attributes(&about, from, to, user_namespace)?;
    Ok(copy.bytes)
}

// ANCHOR: rules
impl CopyRules for WriteLayer {
    fn action(
        &self,
        from: &Path,
        about: &Metadata,
        to: &Path,
    ) -> Result<EntryAction> {
        // Only an empty file is a mount point that the program created. A file of
        // the image is not empty.
        let is_point = || self.mount_points.iter().any(|point| point == from);
        if about.is_file() && about.len() == 0 && is_point() {
            return Ok(EntryAction::Skip);
        }
        match self.reader.meaning(from, about) {
            Meaning::File => Ok(EntryAction::Copy),
            Meaning::Nothing => Ok(EntryAction::Skip),
            Meaning::Whiteout(hidden) => {
                let to = to.with_file_name(hidden.file_name().unwrap_or_default());
                whiteout(&to).map(|()| EntryAction::Skip)
            }
        }
    }

    fn filled(&self, from: &Path, to: &Path) -> Result<()> {
        if !self.reader.is_opaque(from) {
            return Ok(());
        }
        // Write the attribute that this process's user namespace allows; the image
        // is read in the same way.
        let name = self.reader.opaque();
        lsetxattr(to, name, b"y", XattrFlags::empty())
            .untraced(|| format!("setxattr(2) {name} {}", to.display()))
    }

    fn tolerates(&self, from: &Path, error: &Error) -> bool {
        is(error, Errno::ENOENT) && !from.is_symlink() && !from.exists()
    }
}
// ANCHOR_END: rules

fn whiteout(path: &Path) -> Result<()> {
    mknod(path, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, 0)
        .untraced(|| format!("mknod(2) {}", path.display()))
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
