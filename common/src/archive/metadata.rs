//! Owners, modes, times and extended attributes of unpacked files.

use std::fs::{File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{UtimensatFlags, fstat, fstatat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use rustix::fs::{XattrFlags, setxattr};

use super::escape::{at, escaped};
use super::member::Member;
use crate::cli::step::Step;
use crate::guest::GuestFile;

/// The properties of files that unpacking keeps, in addition to names, modes and
/// content.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Owners and device nodes. Without it, the caller owns all files, and devices are
    /// left out.
    pub owners: bool,
    /// Times and extended attributes.
    pub attributes: bool,
    /// The extended attribute that marks an opaque directory. With it, the archive
    /// is a layer: entries with the prefix `.wh.` remove files of the layers below,
    /// and become whiteouts of overlayfs. Without it, they are ordinary files.
    pub whiteouts: Option<&'static str>,
}

/// Seconds and nanoseconds since 1970.
pub(super) type Stamp = TimeSpec;

/// Set all properties of a regular file, after its data was written.
pub(super) fn set_all(
    member: &Member,
    keep: Keep,
    file: &File,
    path: &Path,
) -> Result<()> {
    if keep.owners {
        let (uid, gid) = (member.uid, member.gid);
        nix::unistd::fchown(
            file,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
        )
        .step(|| at("chown(2)", path))?;
    }
    // This must come after chown(2), which clears the setuid bit and the file's
    // capabilities.
    file.set_permissions(Permissions::from_mode(member.mode))
        .step(|| at("chmod(2)", path))?;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    set_attributes(member, keep, Path::new(&name), path)?;
    if !keep.attributes {
        return Ok(());
    }
    futimens(file, &member.time, &member.time).step(|| at("futimens(3)", path))?;
    check_time(member.time, || Ok(fstat(file)?.st_mtime))
}

/// Set the owner of the file, not of a symlink's target.
pub(super) fn set_owner(
    member: &Member,
    keep: Keep,
    parent: &GuestFile,
    path: &Path,
) -> Result<()> {
    if !keep.owners {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
    let name = path.file_name().context("no name")?;
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
        .step(|| at("chown(2)", path))
}

/// Set the extended attributes of the file at `file`, which the archive calls `path`.
pub(super) fn set_attributes(
    member: &Member,
    keep: Keep,
    file: &Path,
    path: &Path,
) -> Result<()> {
    if !keep.attributes {
        return Ok(());
    }
    for (name, value) in &member.attributes {
        if !is_kept(name, keep) {
            continue;
        }
        match setxattr(file, name.as_str(), value, XattrFlags::empty()) {
            // The filesystem does not support these attributes.
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            set => set
                .step(|| format!("{} {}", at("setxattr(2)", path), escaped(name)))?,
        }
    }
    Ok(())
}

/// Set the time of a file that cannot be opened.
pub(super) fn set_time(
    member: &Member,
    keep: Keep,
    parent: &GuestFile,
    path: &Path,
) -> Result<()> {
    if !keep.attributes {
        return Ok(());
    }
    let name = path.file_name().context("no name")?;
    let time = &member.time;
    utimensat(parent, name, time, time, UtimensatFlags::NoFollowSymlink)
        .step(|| at("utimensat(2)", path))?;
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    check_time(*time, || Ok(fstatat(parent, name, flags)?.st_mtime))
}

/// Set the time of a directory.
pub(super) fn set_directory_time(
    place: &GuestFile,
    time: Stamp,
    path: &Path,
) -> Result<()> {
    let flags = UtimensatFlags::FollowSymlink;
    utimensat(AT_FDCWD, &place.path(), &time, &time, flags)
        .step(|| at("utimensat(2)", path))?;
    check_time(time, || Ok(fstat(place)?.st_mtime))
}

/// The kernel replaces a time that the filesystem cannot store by the nearest one, and
/// reports success. All filesystems can store the times from 1970 to 2038.
fn check_time(time: Stamp, stored: impl FnOnce() -> Result<i64>) -> Result<()> {
    let seconds = time.tv_sec();
    if !(0..=i64::from(i32::MAX)).contains(&seconds) && stored()? != seconds {
        bail!("the filesystem cannot store the time {seconds} (seconds since 1970)");
    }
    Ok(())
}

/// Whether an attribute means the same on every machine. Attributes of an overlay would
/// hide files; other names hold labels and private data of the machine where the archive
/// was made.
fn is_kept(name: &str, keep: Keep) -> bool {
    (name.starts_with("user.") && !name.starts_with("user.overlay."))
        || (keep.owners && name == "security.capability")
}
