//! The markers of overlayfs for removed files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::outcome::{Outcome, Trouble};

/// There is a whiteout at this path: the character device 0, 0.
pub(super) fn is_whiteout(path: &Path) -> Outcome {
    let actual = match fs::symlink_metadata(path) {
        Err(error) => error.to_string(),
        Ok(about) if about.file_type().is_char_device() && about.rdev() == 0 => {
            return Ok(());
        }
        Ok(about) => format!("a file with the mode {:o}", about.mode()),
    };
    let place = path.display();
    Err(Trouble::fail(format!("a whiteout, the device 0, 0, at {place}"), actual))
}
