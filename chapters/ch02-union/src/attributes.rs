//! The attributes of a file: owner, mode, extended attributes and times.

use std::ffi::CStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use anyhow::Result;
use common::step::Step;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};

/// Copy the owner, mode, extended attributes and times of `from` to `to`. The order
/// matters: chown(2) clears setuid bits and file capabilities, so it comes first.
/// The attributes that overlayfs uses internally are left out.
///
/// # Errors
/// An errno of chown(2), chmod(2), setxattr(2) or utimensat(2). In a user namespace,
/// EPERM and EINVAL from chown(2) and EPERM from setxattr(2) are ignored.
pub fn copy_attributes(
    about: &Metadata,
    from: &Path,
    to: &Path,
    user_namespace: bool,
) -> Result<()> {
    let mut mode = about.mode() & 0o7777;
    match lchown(to, Some(about.uid()), Some(about.gid())) {
        Ok(()) => {}
        // The owner is not mapped in the user namespace, so the file belongs to the
        // caller. Drop the setuid and setgid bits: the original owner did not grant
        // them to the caller's account.
        Err(error) if user_namespace && is_denied(&error) => mode &= 0o1777,
        error => error.untraced(|| format!("chown(2) {}", to.display()))?,
    }
    // A symlink has no mode, and chmod(2) would follow it.
    if !about.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(mode))
            .untraced(|| format!("chmod(2) {}", to.display()))?;
        copy_extended_attributes(from, to, user_namespace).untraced(|| {
            format!("setxattr(2) {} as {}", to.display(), from.display())
        })?;
    }
    let access = TimeSpec::new(about.atime(), about.atime_nsec());
    let change = TimeSpec::new(about.mtime(), about.mtime_nsec());
    let flags = UtimensatFlags::NoFollowSymlink;
    utimensat(AT_FDCWD, to, &access, &change, flags)
        .untraced(|| format!("utimensat(2) {}", to.display()))
}

/// Copy the extended attributes, which include file capabilities. Those of overlayfs
/// are left out: they have no meaning in a complete tree.
fn copy_extended_attributes(
    from: &Path,
    to: &Path,
    user_namespace: bool,
) -> rustix::io::Result<()> {
    let mut names = vec![0; MAX_LIST];
    let length = match llistxattr(from, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        length => length?,
    };
    let mut names = &names[..length];
    while let Ok(name) = CStr::from_bytes_until_nul(names) {
        names = &names[name.to_bytes_with_nul().len()..];
        if name.to_bytes().windows(9).any(|word| word == b".overlay.") {
            continue;
        }
        let mut value = vec![0; MAX_VALUE];
        let length = lgetxattr(from, name, &mut value[..])?;
        match lsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // The filesystem does not support this attribute, or only the host's
            // root may set it.
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(rustix::io::Errno::PERM) if user_namespace => {}
            set => set?,
        }
    }
    Ok(())
}

/// The maximum size, in bytes, of the list of attribute names and of one value.
///
/// # Source
/// xattr(7), "VFS-imposed limits"
const MAX_LIST: usize = 64 << 10;
const MAX_VALUE: usize = 64 << 10;

fn is_denied(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EPERM | Errno::EINVAL))
}
