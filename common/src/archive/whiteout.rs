//! Entries of a layer that remove files of the layers below.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::libc::mode_t;
use nix::sys::stat::{Mode, SFlag, fstatat, mknodat};
use rustix::fs::{XattrFlags, setxattr};

use super::escape::at;
use super::layer::{OPAQUE, WHITEOUT};
use super::member::{self, Member};
use super::unpack::Unpacker;
use crate::cli::step::Step;
use crate::guest::{GuestFile, Kind};

impl Unpacker {
    /// Unpack the entry if it is a whiteout, and return whether it is one. If
    /// another entry has the path of a whiteout, the entry replaces the whiteout.
    pub(super) fn is_whiteout(
        &mut self,
        member: &Member,
        path: &Path,
    ) -> Result<bool> {
        if let Some(opaque) = self.keep.whiteouts {
            let name = path.file_name().unwrap_or_default();
            if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT.as_bytes()) {
                self.uncover(path.parent().unwrap_or(Path::new("")), opaque)?;
                self.whiteout(path, OsStr::from_bytes(hidden), opaque)?;
                return Ok(true);
            }
            let directory = match member.kind {
                member::Kind::Directory => Some(path),
                // Such a file replaces the whiteout as it replaces any other file.
                _ => path.parent().filter(|_| !self.whiteouts.remove(path)),
            };
            self.uncover(directory.unwrap_or(Path::new("")), opaque)?;
        }
        Ok(false)
    }

    // ANCHOR: whiteout
    /// An entry with the prefix `.wh.` removes a file of the layers below. In
    /// overlayfs, a character device with the number 0:0 has this meaning. An
    /// extended attribute marks an opaque directory, which hides the directory with
    /// the same path in the layers below.
    fn whiteout(&mut self, path: &Path, hidden: &OsStr, opaque: &str) -> Result<()> {
        let parent = self.parent(path)?;
        if path.file_name().is_some_and(|name| name == OPAQUE) {
            return make_opaque(&parent, opaque, path);
        }
        // aufs stores further files of its own. Their names begin with `.wh..wh.`.
        if hidden.as_bytes().starts_with(WHITEOUT.as_bytes()) {
            return Ok(());
        }
        ensure!(
            ![".", "..", ""].iter().any(|name| hidden == *name),
            "the whiteout does not name a file: this archive is not trustworthy"
        );
        let hidden_path = path.with_file_name(hidden);
        // The layer may have removed a file, and created another file with the same
        // name.
        match fstatat(&*parent, hidden, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {}
            Ok(about) if is_directory(about.st_mode) => {
                let place = self.root.make(&hidden_path, Kind::Directory)?;
                return make_opaque(&place, opaque, &hidden_path);
            }
            Ok(_) => return Ok(()),
            about => drop(about.untraced(|| at("lstat(2)", &hidden_path))?),
        }
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        mknodat(&*parent, hidden, SFlag::S_IFCHR, mode, 0)
            .step(|| at("mknod(2)", &hidden_path))?;
        self.whiteouts.insert(hidden_path);
        Ok(())
    }

    /// Replace each whiteout that has the path of this directory, or of a directory
    /// above it, by an opaque directory.
    fn uncover(&mut self, directory: &Path, opaque: &str) -> Result<()> {
        if self.whiteouts.is_empty() {
            return Ok(());
        }
        let above: Vec<&Path> = directory.ancestors().collect();
        for covered in above.into_iter().rev() {
            if !self.whiteouts.remove(covered) {
                continue;
            }
            let parent = self.parent(covered)?;
            self.replace(&parent, covered)?;
            let place = self.make_directory(&parent, covered)?;
            make_opaque(&place, opaque, covered)?;
        }
        Ok(())
    }
    // ANCHOR_END: whiteout
}

fn make_opaque(place: &GuestFile, attribute: &str, path: &Path) -> Result<()> {
    setxattr(place.path(), attribute, b"y", XattrFlags::empty())
        .step(|| format!("{} {attribute}", at("setxattr(2)", path)))
}

fn is_directory(mode: mode_t) -> bool {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}
