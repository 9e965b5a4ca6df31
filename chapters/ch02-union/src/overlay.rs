//! overlayfs, the union filesystem of Linux.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use common::step::{Hint, Step};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::statfs::{
    MSDOS_SUPER_MAGIC, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, statfs,
};

use crate::short::{PAGE, short};
use crate::union::Union;

/// From fs/overlayfs/params.h, "OVL_MAX_STACK".
const MAX_LAYERS: usize = 500;

pub(crate) fn check(union: &Union) -> Result<()> {
    let layers = union.lower.len();
    ensure!(
        layers <= MAX_LAYERS,
        "{layers} lower directories, but overlayfs accepts at most {MAX_LAYERS}: \
         merge some of them into one"
    );
    Ok(())
}

// ANCHOR: mount
pub(crate) fn mount(union: &Union, at: &Path, user_namespace: bool) -> Result<()> {
    let fits = options(union, user_namespace).len() < PAGE;
    let as_named = |named: &Union| {
        let options = options(named, user_namespace);
        let kind = Some("overlay");
        let flags = MsFlags::empty();
        let mount =
            || nix::mount::mount(kind, at, kind, flags, Some(options.as_os_str()));
        mount_with_retry(mount)
            .step(|| {
                format!("mount(2) overlay on {} {}", at.display(), options.display())
            })
            .hint(|errno| why(errno, union))
    };
    if fits { as_named(union) } else { short(union, at, as_named) }
}

/// Mount, and wait if the kernel is still loading the module. The first mount on a
/// machine makes the kernel load the module through modprobe(8). A second mount at
/// the same time starts a second modprobe. This one finds the module in the kernel's
/// list and exits, although the module is not initialized yet. The second mount then
/// fails with ENODEV.
///
/// # Source
/// fs/filesystems.c, "get_fs_type"; seen on Linux 6.1 and 6.12
fn mount_with_retry(mount: impl Fn() -> nix::Result<()>) -> nix::Result<()> {
    for _ in 0..TRIES {
        let mounted = mount();
        if mounted != Err(Errno::ENODEV) {
            return mounted;
        }
        match module().as_deref() {
            // The module is not being loaded: this kernel has no overlayfs.
            None => return mounted,
            Some("Loading") => sleep(PAUSE),
            // The module is ready now.
            Some(_) => break,
        }
    }
    mount()
}

/// Ten seconds in total. Loading the module takes at most one second, even on an
/// emulated CPU.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// The state of the module in /proc/modules, or `None` if the module is not in the
/// list.
///
/// # Source
/// proc_modules(5)
fn module() -> Option<String> {
    // NAME SIZE USERS BY-WHOM STATE ADDRESS
    let modules = fs::read_to_string("/proc/modules").ok()?;
    let line = modules.lines().find(|line| line.starts_with("overlay "))?;
    line.split(' ').nth(4).map(str::to_owned)
}

/// The mount options.
///
/// # Source
/// Documentation/filesystems/overlayfs.rst
fn options(union: &Union, user_namespace: bool) -> OsString {
    let lower: Vec<_> = union.lower.iter().map(|layer| escaped(layer)).collect();
    let mut options = b"lowerdir=".to_vec();
    options.extend(lower.join(&b':'));
    options.extend([b",upperdir=", &escaped(&union.upper)[..]].concat());
    options.extend([b",workdir=", &escaped(&union.work)[..]].concat());
    // Set these options explicitly: a distribution may build its kernel with other
    // defaults. Each of these features stores data in the write layer that only such
    // a kernel understands.
    options.extend(b",index=off");
    // Without `volatile`, each umount syncs the whole filesystem of the upper
    // directory. With it, the kernel marks the work directory, and refuses to mount
    // it again.
    if union.volatile {
        options.extend(b",volatile");
    }
    // Only the host's root may write "trusted." attributes, so a user namespace
    // needs "user." attributes. With these, the kernel turns redirects and metacopy
    // off by itself.
    options.extend(if user_namespace {
        &b",userxattr"[..]
    } else {
        b",redirect_dir=off,metacopy=off"
    });
    OsString::from_vec(options)
}
// ANCHOR_END: mount

/// Escape a path for the mount options, where `:` separates layers and `,` separates
/// options.
fn escaped(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        if b"\\:,".contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// The hint for an errno of mount(2). The kernel writes the exact reason to its log.
fn why(errno: Errno, union: &Union) -> Option<String> {
    let upper = union.upper.display();
    match errno {
        Errno::EINVAL => Some(match unsupported_upper(&union.upper) {
            Some(kind) => format!(
                "the write layer {upper} is on {kind}, which overlayfs does not \
                 support; use ext4, xfs, btrfs or tmpfs: {}",
                union.elsewhere
            ),
            None => format!(
                "the reason is in the kernel log (dmesg | tail): {upper} and the \
                 work directory must be two separate directories on one mount, on a \
                 filesystem that supports whiteouts: {}",
                union.elsewhere
            ),
        }),
        Errno::ELOOP => Some(
            "one of the directories is inside another: use separate directories"
                .into(),
        ),
        Errno::ENODEV => {
            Some("this kernel has no overlayfs: try modprobe overlay".to_owned())
        }
        Errno::EPERM => Some(
            "this kernel allows only root to mount overlayfs (Linux 5.11 and later \
             allow it in a user namespace)"
                .to_owned(),
        ),
        _ => None,
    }
}

/// The name of the filesystem of `upper`, if it is known to support no write layer.
fn unsupported_upper(upper: &Path) -> Option<&'static str> {
    match statfs(upper).ok()?.filesystem_type() {
        OVERLAYFS_SUPER_MAGIC => Some("overlayfs"),
        NFS_SUPER_MAGIC => Some("NFS"),
        MSDOS_SUPER_MAGIC => Some("FAT"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_paths_are_escaped() {
        assert_eq!(escaped(Path::new(r"/a:b,c\d")), br"/a\:b\,c\\d");
    }

    #[test]
    fn the_options_name_the_topmost_layer_first_and_no_redirects() {
        let union = Union {
            lower: vec!["/top".into(), "/bottom".into()],
            upper: "/u".into(),
            work: "/w".into(),
            volatile: false,
            elsewhere: "",
        };
        assert_eq!(
            options(&union, false),
            "lowerdir=/top:/bottom,upperdir=/u,workdir=/w,index=off,\
             redirect_dir=off,metacopy=off"
        );
        assert_eq!(
            options(&union, true),
            "lowerdir=/top:/bottom,upperdir=/u,workdir=/w,index=off,userxattr"
        );
        let volatile = options(&Union { volatile: true, ..union }, true);
        let volatile = volatile.to_str().unwrap();
        assert!(volatile.ends_with("index=off,volatile,userxattr"), "{volatile}");
    }
}
