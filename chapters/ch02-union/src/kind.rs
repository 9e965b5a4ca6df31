//! mount(2) of a file system that may be a module.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::MsFlags;

/// How long the kernel may take to load a module.
const LOADING: Duration = Duration::from_secs(5);

/// Mount a file system of this kind, with these options.
///
/// The kernel calls modprobe(8) for a kind that it doesn't know. One that finds the
/// module being loaded, for another container that starts at the same moment, may end at
/// once, and the kernel then says ENODEV: so it is asked again while the module is there.
pub(crate) fn mount(
    source: &str,
    kind: &str,
    at: &Path,
    options: &OsStr,
) -> nix::Result<()> {
    let deadline = Instant::now() + LOADING;
    loop {
        let (source, flags) = (Some(source), MsFlags::empty());
        match nix::mount::mount(source, at, Some(kind), flags, Some(options)) {
            Err(Errno::ENODEV) if is_module(kind) && Instant::now() < deadline => {
                sleep(Duration::from_millis(5));
            }
            mounted => return mounted,
        }
    }
}

/// Whether a module of this name is there, or on its way in.
fn is_module(name: &str) -> bool {
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    modules.lines().any(|line| line.split(' ').next() == Some(name))
}
