//! What a file is beside its bytes.

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

/// Owner, mode, extended attributes, times: in the order in which none spoils
/// another. Overlayfs's own attributes are left out.
///
/// # Errors
/// Those of chown(2), chmod(2), setxattr(2), utimensat(2).
pub fn keep(
    about: &Metadata,
    from: &Path,
    to: &Path,
    user_namespace: bool,
) -> Result<()> {
    let mut mode = about.mode() & 0o7777;
    match lchown(to, Some(about.uid()), Some(about.gid())) {
        Ok(()) => {}
        // Somebody whom a user namespace doesn't know: it becomes the caller's,
        // and must not act for him with a right that another gave.
        Err(error) if user_namespace && is_denied(&error) => mode &= 0o1777,
        error => error.look(|| format!("chown(2) {}", to.display()))?,
    }
    // A symlink has no mode; chmod(2) would follow it.
    if !about.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(mode))
            .look(|| format!("chmod(2) {}", to.display()))?;
        extended(from, to, user_namespace).look(|| {
            format!("setxattr(2) {} as {}", to.display(), from.display())
        })?;
    }
    let access = TimeSpec::new(about.atime(), about.atime_nsec());
    let change = TimeSpec::new(about.mtime(), about.mtime_nsec());
    let flags = UtimensatFlags::NoFollowSymlink;
    utimensat(AT_FDCWD, to, &access, &change, flags)
        .look(|| format!("utimensat(2) {}", to.display()))
}

/// Extended attributes, capabilities of programs among them; overlayfs's own are
/// of no use in a tree that is whole.
fn extended(from: &Path, to: &Path, user_namespace: bool) -> rustix::io::Result<()> {
    let mut names = vec![0; LIST];
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
        let mut value = vec![0; VALUE];
        let length = lgetxattr(from, name, &mut value[..])?;
        match lsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // One that this file system hasn't got, or that takes real root.
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(rustix::io::Errno::PERM) if user_namespace => {}
            set => set?,
        }
    }
    Ok(())
}

/// The most bytes of the names of a file's extended attributes, and of a value.
///
/// # Source
/// xattr(7), "VFS-imposed limits"
const LIST: usize = 64 << 10;
const VALUE: usize = 64 << 10;

fn is_denied(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EPERM | Errno::EINVAL))
}
