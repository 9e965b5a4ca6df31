//! Checking the free space of a disk before it is filled.

use std::path::Path;

use anyhow::{Error, Result};
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use common::step::Step;

/// Check that this many bytes are free for `what`: on a full disk apt-get 2.6 never
/// ends.
///
/// # Errors
/// ENOSPC, with the free and the required space.
pub fn room(directory: &Path, bytes: u64, what: &str) -> Result<()> {
    let about =
        statvfs(directory).step(|| format!("statvfs(3) {}", directory.display()))?;
    // The types differ between machines.
    #[allow(clippy::useless_conversion, reason = "u32 on some machines")]
    let free = u64::from(about.blocks_available())
        .saturating_mul(about.fragment_size().into());
    if free < bytes {
        let text = || {
            let (free, bytes) = (free as f64 / 1e6, bytes as f64 / 1e6);
            format!(
                "disk space for {what}: {free:.1} MB free, {bytes:.1} MB required"
            )
        };
        return Err(Errno::ENOSPC).step(text);
    }
    Ok(())
}

/// Whether a full disk caused the error.
#[must_use]
pub fn is_full(error: &Error) -> bool {
    error.root_cause().downcast_ref() == Some(&Errno::ENOSPC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_detected() {
        let error = room(Path::new("/tmp"), u64::MAX, "all").unwrap_err();
        assert!(is_full(&error));
        let text = common::step::report(&error);
        assert!(text.contains("ENOSPC"), "{text}");
    }
}
