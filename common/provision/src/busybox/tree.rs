//! Creating a root filesystem from a busybox binary.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};

use super::at;
use super::source::{BusyboxSource, applets};
use common::archive::unpack_file;
use common::hints;
use common::step::{Hint, Step};

/// The directories of the image and their modes.
const DIRECTORIES: [(&str, u32); 18] = [
    ("", 0o755),
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// The files of the image.
const FILES: [(&str, &str); 3] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         nobody:x:65534:65534:nobody:/home:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"),
];

/// Fill the empty directory `root`.
pub(super) fn build(found: &BusyboxSource, root: &Path) -> Result<()> {
    if found.is_tar {
        return unpack_file(&found.file, root)
            .with_context(|| format!("unpack {}", found.file.display()));
    }
    for (name, mode) in DIRECTORIES {
        let path = root.join(name);
        fs::create_dir_all(&path).step(|| at("mkdir(2)", &path))?;
        // The caller's umask must not affect the image.
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .step(|| at("chmod(2)", &path))?;
    }
    for (name, text) in FILES {
        let path = root.join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o644)))
            .step(|| at("write(2)", &path))
            .hint(hints::state)?;
    }
    let busybox = root.join("bin/busybox");
    fs::copy(&found.file, &busybox)
        .and_then(|_| fs::set_permissions(&busybox, Permissions::from_mode(0o755)))
        .step(|| at("copy to", &busybox))
        .hint(hints::state)?;
    for applet in applets(&found.file)? {
        let path = root.join(&applet);
        if applet.starts_with('/') || applet.contains("..") || path == busybox {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).step(|| at("mkdir(2)", parent))?;
        }
        match symlink("/bin/busybox", &path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.step(|| at("symlink(2)", &path)).hint(hints::state)?,
        }
    }
    Ok(())
}
