//! The host's own devices that containers have too.

use std::fs::{Permissions, metadata, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

const NAMES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Each device's path, mode, owner and group.
pub(crate) fn devices() -> Vec<(PathBuf, u32, u32, u32)> {
    let about = |path: PathBuf| {
        let about = metadata(&path).ok()?;
        Some((path, about.mode(), about.uid(), about.gid()))
    };
    NAMES.iter().filter_map(|name| about(format!("/dev/{name}").into())).collect()
}

/// Do something that is not to reach the host's devices, and see that it doesn't.
///
/// What it has changed all the same is put back first: nothing works without.
///
/// # Panics
/// It has changed one.
pub fn devices_untouched(by: impl FnOnce()) {
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
