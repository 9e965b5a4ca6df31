//! A small system with systemd, for the tests of delegated cgroups: from the
//! distribution's packages, in one directory of the VM.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use common::step::{Hint, Step};

use super::tree::{Node, Tree};
use super::{full, packages};

/// The packages: systemd, the message bus and the login service with which an
/// ordinary user gets a service manager, and their libraries.
const PACKAGES: [&str; 32] = [
    "dbus",
    "dbus-bin",
    "dbus-daemon",
    "dbus-system-bus-common",
    "libacl1",
    "libapparmor1",
    "libaudit1",
    "libblkid1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcrypt1",
    "libdbus-1-3",
    "libexpat1",
    "libgcrypt20",
    "libgpg-error0",
    "libip4tc2",
    "libkmod2",
    "liblz4-1",
    "liblzma5",
    "libmount1",
    "libpam-modules",
    "libpam-systemd",
    "libpam0g",
    "libpcre2-8-0",
    "libseccomp2",
    "libselinux1",
    "libssl3",
    "libsystemd-shared",
    "libsystemd0",
    "libzstd1",
    "systemd",
];

/// The disk space for the packages and their unpacked files.
const REQUIRED_SPACE: u64 = 150 << 20;

/// The directory of the system in the VM.
const AT: &str = "usr/share/systemd-root";

/// The directories that newer distributions have only below /usr.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Directories of the packages that the tests do not need.
const LEFT_OUT: [&str; 6] = [
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zsh",
];

/// The files of the system.
///
/// # Errors
/// The packages cannot be downloaded.
pub(crate) fn files() -> Result<Tree> {
    let mut tree = Tree::default();
    packages::unpacked("systemd", &PACKAGES, REQUIRED_SPACE)
        .and_then(|unpacked| copy(&mut tree, &unpacked, ""))
        .context("a system with systemd for the VM")
        .hint(full)?;
    for name in MERGED {
        let target = format!("usr/{name}").into_bytes();
        tree.add(&format!("{AT}/{name}"), Node::Symlink(target));
    }
    Ok(tree)
}

/// Add a directory of the packages.
fn copy(tree: &mut Tree, unpacked: &Path, directory: &str) -> Result<()> {
    let from = unpacked.join(directory);
    let step = || format!("readdir(3) {}", from.display());
    for entry in fs::read_dir(&from).step(step)? {
        let path = entry.step(step)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{directory}/{name}").trim_start_matches('/').to_owned();
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let shown = || path.display().to_string();
        let meta = path.symlink_metadata().step(shown)?;
        let mode = meta.permissions().mode() & 0o7777;
        if meta.is_dir() {
            copy(tree, unpacked, &name)?;
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).step(shown)?;
            let target = target.to_string_lossy().into_owned().into();
            tree.add(&place(&name), Node::Symlink(target));
        } else if meta.is_file() {
            let bytes = fs::read(&path).step(shown)?;
            tree.add(&place(&name), Node::File(mode, bytes));
        }
    }
    Ok(())
}

/// The path in the VM of a file of a package.
fn place(name: &str) -> String {
    let first = name.split('/').next().unwrap_or_default();
    match MERGED.contains(&first) {
        true => format!("{AT}/usr/{name}"),
        false => format!("{AT}/{name}"),
    }
}
