//! No union at all: all layers copied into one tree, as early containers were made.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::state::remove_tree;
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::mount::MsFlags;
use rustix::fs::lgetxattr;

use crate::attributes::keep;
use crate::tree::{Fate, Rules, TreeCopy, make_directory};
use crate::union::Union;

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
    let mut copy = TreeCopy::new(UpperHidesLower, user_namespace);
    let filled = layers(&mut copy, lower, &tree).and_then(|()| {
        // The root of the merged tree is the upper one's, as in a union.
        let about = fs::symlink_metadata(upper)
            .look(|| format!("lstat(2) {}", upper.display()))?;
        keep(&about, upper, &tree, user_namespace)?;
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

/// The rules of a union: an upper layer hides what is below it.
struct UpperHidesLower;

impl Rules for UpperHidesLower {
    fn fate(&self, from: &Path, about: &Metadata, to: &Path) -> Result<Fate> {
        let there = fs::symlink_metadata(to).ok();
        let merges = about.is_dir()
            && there.as_ref().is_some_and(Metadata::is_dir)
            && !is_opaque(from);
        // What is written next must not go where a symlink of a lower layer leads.
        if there.is_some() && !merges {
            remove_tree(to)?;
        }
        Ok(match (is_whiteout(about), merges) {
            (true, _) => Fate::Skip,
            (false, true) => Fate::Merge,
            (false, false) => Fate::Copy,
        })
    }
}

/// Copy all layers into a new directory, the lowest first.
fn layers(
    copy: &mut TreeCopy<UpperHidesLower>,
    lower: &[PathBuf],
    tree: &Path,
) -> Result<()> {
    make_directory(tree)?;
    lower.iter().rev().try_for_each(|layer| copy.tree(layer, tree)).hint(|errno| {
        (errno == Errno::EPERM).then(|| {
            "only the host's root makes devices: overlay needs none made, --driver \
             overlay"
                .to_owned()
        })
    })
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
