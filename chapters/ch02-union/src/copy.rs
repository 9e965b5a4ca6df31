//! The driver without a union mount: it copies all layers into one tree.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::state::remove_tree;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::mount::MsFlags;
use rustix::fs::lgetxattr;

use crate::attributes::copy_attributes;
use crate::tree::{CopyRules, EntryAction, TreeCopy, make_directory};
use crate::union::Union;

// ANCHOR: mount
/// Copy all layers into the upper directory, unless an earlier run did, and
/// bind-mount it.
///
/// This runs in the child, because a copy may take long and the parent must handle
/// signals in the meantime.
pub(crate) fn mount(union: &Union, at: &Path, user_namespace: bool) -> Result<()> {
    let upper = &union.upper;
    let mut entries = fs::read_dir(upper)
        .untraced(|| format!("readdir(3) {}", upper.display()))?;
    if entries.next().is_none() {
        fill(union, user_namespace)?;
    }
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    nix::mount::mount(Some(upper), at, None::<&str>, bind, None::<&str>)
        .step(|| format!("mount(2) bind {} on {}", upper.display(), at.display()))
}

/// Copy all layers, lowest first, into the work directory. Rename the tree to the
/// upper directory when it is complete.
fn fill(union: &Union, user_namespace: bool) -> Result<()> {
    let Union { lower, upper, work, .. } = union;
    let tree = work.join("copy");
    // An earlier run was killed and left an incomplete copy.
    if tree.exists() {
        remove_tree(&tree)?;
    }
    let mut copy = TreeCopy::new(UpperHidesLower, user_namespace);
    let filled = layers(&mut copy, lower, &tree).and_then(|()| {
        // As in a union, the root directory has the attributes of the upper
        // directory.
        let about = fs::symlink_metadata(upper)
            .untraced(|| format!("lstat(2) {}", upper.display()))?;
        copy_attributes(&about, upper, &tree, user_namespace)?;
        let TreeCopy { files, reflinks, .. } = copy;
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
        // Remove the incomplete copy: it may fill the disk. An error here is
        // ignored, because the first error is the one to report.
        let _ = remove_tree(&tree);
    }
    filled
}
// ANCHOR_END: mount

/// The hint for a failed rename(2).
fn in_the_way(errno: Errno) -> Option<String> {
    matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EBUSY).then(|| {
        "the copy replaces the upper directory: it must not be a mount point, and \
         you need write permission for its parent directory"
            .to_owned()
    })
}

/// The rules of a union: an upper layer hides what is below it.
struct UpperHidesLower;

impl CopyRules for UpperHidesLower {
    fn action(
        &self,
        from: &Path,
        about: &Metadata,
        to: &Path,
    ) -> Result<EntryAction> {
        let there = fs::symlink_metadata(to).ok();
        let merges = about.is_dir()
            && there.as_ref().is_some_and(Metadata::is_dir)
            && !is_opaque(from);
        // Remove the entry of the lower layer first: if it is a symlink, a write
        // would follow it.
        if there.is_some() && !merges {
            remove_tree(to)?;
        }
        Ok(match (is_whiteout(about), merges) {
            (true, _) => EntryAction::Skip,
            (false, true) => EntryAction::Merge,
            (false, false) => EntryAction::Copy,
        })
    }
}

/// Copy all layers, lowest first, into a new directory.
fn layers(
    copy: &mut TreeCopy<UpperHidesLower>,
    lower: &[PathBuf],
    tree: &Path,
) -> Result<()> {
    make_directory(tree)?;
    lower.iter().rev().try_for_each(|layer| copy.tree(layer, tree)).hint(|errno| {
        (errno == Errno::EPERM).then(|| {
            "only the host's root may create devices: use --driver overlay, which \
             creates none"
                .to_owned()
        })
    })
}

/// Whether this entry is a whiteout: a character device 0, 0, which marks a removed
/// file.
#[must_use]
pub fn is_whiteout(about: &Metadata) -> bool {
    about.file_type().is_char_device() && about.rdev() == 0
}

/// Whether this directory is opaque: it hides the same directory in the layers
/// below.
fn is_opaque(path: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        let mut value = [0; 8];
        lgetxattr(path, *name, &mut value[..]).is_ok_and(|n| &value[..n] == b"y")
    })
}
