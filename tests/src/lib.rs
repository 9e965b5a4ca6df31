//! The laboratory: every black-box test executes a chapter's binary by its path. The
//! state of the machine is compared before and after it. A difference is a leak, and
//! a failure.

pub mod book;
mod caller;
mod containers;
mod descendants;
mod devices;
mod faulty;
pub mod images;
mod lab;
mod netlink;
mod one;
pub mod server;
mod snapshot;
mod terminal;
mod traced;
mod until;
mod watchdog;

use std::env;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

pub use caller::Caller;
pub use containers::{CAT, all, end, only, started};
pub use descendants::living;
pub use devices::assert_devices_unchanged;
pub use faulty::{Call, Faulty, Outcome};
pub use lab::{Lab, copy_tree, end_of, probe, record, user, values};
pub use netlink::{
    add_forward_chain, add_rule, add_table, bridge_link, delete_table,
    loopback_address,
};
pub use one::{One, is_alone, state_of};
pub use snapshot::{Snapshot, cgroup_roots, has_controller};
pub use terminal::Terminal;
pub use traced::{Side, Traced};
pub use until::until;

/// The directory of the chapters' binaries: `$MYDOCKER_BIN_DIR` if it is set,
/// otherwise the directory into which cargo builds them.
///
/// The directory may contain any implementation of the chapters.
#[must_use]
pub fn bin_dir() -> PathBuf {
    if let Some(path) = env::var_os("MYDOCKER_BIN_DIR") {
        return path.into();
    }
    let this = env::current_exe().expect("the test has a path");
    let deps = this.parent().expect("the test is in a directory");
    deps.parent().unwrap_or(deps).to_owned()
}

/// For [`Lab::wrapped`]: stderr is the same pipe as stdout, so the order of the lines is
/// that in which they were written.
#[must_use]
pub fn one_output() -> [&'static OsStr; 4] {
    ["sh", "-c", r#"exec "$@" 2>&1"#, "sh"].map(OsStr::new)
}

/// Report that a test cannot run because the kernel lacks a feature. Missing
/// privilege is not such a reason.
///
/// The test must return afterwards. The reason is written to the file
/// `$MYDOCKER_SKIP_FILE`, in which the runner counts the skips.
pub fn skip(reason: &str) {
    if let Some(path) = env::var_os("MYDOCKER_SKIP_FILE") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{reason}"));
        written.expect("the file of skips is writable");
    }
    eprintln!("skipped: {reason}");
}

/// Skip a test that needs the controllers memory and cpuset, if one is missing.
/// Returns whether the test is skipped.
pub fn lack_memory_or_cpuset() -> bool {
    let missing = !["memory", "cpuset"].into_iter().all(has_controller);
    if missing {
        skip("this kernel has no cgroup v1 memory and cpuset");
    }
    missing
}
