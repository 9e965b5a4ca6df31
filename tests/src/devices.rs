//! The devices of the host that also exist in containers.

use std::fs::{Permissions, metadata, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

const NAMES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The path, mode, owner and group of each device.
pub(crate) fn devices() -> Vec<(PathBuf, u32, u32, u32)> {
    let about = |path: PathBuf| {
        let about = metadata(&path).ok()?;
        Some((path, about.mode(), about.uid(), about.gid()))
    };
    NAMES.iter().filter_map(|name| about(format!("/dev/{name}").into())).collect()
}

/// Run `work`, which must not change the host's devices, and check it.
///
/// If `work` changed a device, the device is restored first, because other programs
/// need it.
///
/// # Panics
/// A device was changed.
pub fn assert_devices_unchanged(by: impl FnOnce()) {
    let before = devices();
    by();
    let after = devices();
    if after != before {
        for (path, mode, user, group) in &before {
            let _ = chown(path, Some(*user), Some(*group));
            let _ = set_permissions(path, Permissions::from_mode(*mode));
        }
    }
    assert_eq!(after, before);
}
