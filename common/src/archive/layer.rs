//! Pack the directory of a layer into a tar in the format of OCI. For a file that
//! the layer removes, the tar contains an empty file `.wh.NAME`. A directory that
//! replaces a directory of a lower layer contains an empty file `.wh..wh..opq`.
//!
//! # Source
//! OCI image specification, layer.md, "Whiteouts"

use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::lgetxattr;

use super::pack::Packer;
use crate::cli::step::Step;

/// The prefix of a whiteout: `.wh.NAME` removes the file NAME.
pub(super) const WHITEOUT: &str = ".wh.";
/// The name of the file that makes its directory opaque.
pub(super) const OPAQUE: &str = ".wh..wh..opq";

/// The extended attributes by which overlayfs marks an opaque directory: one for the
/// host's root, and one for a user namespace.
///
/// # Source
/// Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"
pub const OPAQUE_ATTRIBUTES: [&str; 2] =
    ["trusted.overlay.opaque", "user.overlay.opaque"];

// ANCHOR: pack
/// Write a layer's directory as a tar. The same directory gives the same bytes.
///
/// # Errors
/// A file has a name with a special meaning in OCI's format; readdir(3), lstat(2) or
/// [`Packer::file`] fails.
pub fn pack_layer(directory: &Path, out: impl Write) -> Result<()> {
    let mut packer = Packer::new(out);
    packer.file(Path::new("./"), directory, &about(directory)?)?;
    content(&mut packer, directory, Path::new(""))?;
    packer.finish()
}

fn content<W: Write>(
    packer: &mut Packer<W>,
    directory: &Path,
    at: &Path,
) -> Result<()> {
    for entry in sorted(directory)? {
        let (name, file) = (entry.file_name(), entry.path());
        let (path, about) = (at.join(&name), about(&file)?);
        if name.as_encoded_bytes().starts_with(WHITEOUT.as_bytes()) {
            bail!(
                "an image cannot contain /{}: in a layer, the prefix {WHITEOUT} marks a \
                 removed file",
                path.display()
            );
        }
        if is_whiteout(&about) {
            let mut hidden = OsString::from(WHITEOUT);
            hidden.push(&name);
            packer.empty(&path.with_file_name(hidden))?;
            continue;
        }
        packer.file(&path, &file, &about)?;
        if about.is_dir() {
            if is_opaque(&file) {
                packer.empty(&path.join(OPAQUE))?;
            }
            content(packer, &file, &path)?;
        }
    }
    Ok(())
}
// ANCHOR_END: pack

/// Whether this file is a whiteout of overlayfs.
fn is_whiteout(about: &Metadata) -> bool {
    about.file_type().is_char_device() && about.rdev() == 0
}

fn is_opaque(directory: &Path) -> bool {
    OPAQUE_ATTRIBUTES.iter().any(|name| {
        let mut value = [0; 8];
        let length = lgetxattr(directory, *name, &mut value[..]);
        length.is_ok_and(|length| &value[..length] == b"y")
    })
}

fn sorted(directory: &Path) -> Result<Vec<DirEntry>> {
    let step = || format!("readdir(3) {}", directory.display());
    let entries: Result<Vec<DirEntry>, _> =
        fs::read_dir(directory).untraced(step)?.collect();
    let mut entries = entries.untraced(step)?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

fn about(path: &Path) -> Result<Metadata> {
    fs::symlink_metadata(path).untraced(|| format!("lstat(2) {}", path.display()))
}
