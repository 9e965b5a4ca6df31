//! The laboratory: every black-box test runs a chapter's binary, by path, between
//! two looks at the machine. What differs afterwards is a leak, and a failure.

pub mod book;
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
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

pub use containers::{CAT, all, end, only, started};
pub use descendants::living;
pub use devices::devices_untouched;
pub use faulty::{Call, Faulty, Outcome};
pub use lab::{Lab, copy_tree, end_of, probe, record, user, values};
pub use netlink::{
    add_forward_chain, add_rule, add_table, bridge_link, delete_table,
    loopback_address,
};
pub use one::{One, ROOT, USER, Who, alone, state_of};
pub use snapshot::{Snapshot, cgroup_roots, has_controller};
pub use terminal::Terminal;
pub use traced::{Side, Traced};
pub use until::until;

/// Where the chapters' binaries are: `$MYDOCKER_BIN_DIR`, else where cargo put them.
///
/// Any implementation of the chapters can be put in their place.
#[must_use]
pub fn bin_dir() -> PathBuf {
    if let Some(path) = env::var_os("MYDOCKER_BIN_DIR") {
        return path.into();
    }
    let this = env::current_exe().expect("a test knows its own path");
    let deps = this.parent().expect("a test lies in a directory");
    deps.parent().unwrap_or(deps).to_owned()
}

/// Say that a test can't run because the kernel lacks something. Missing privilege
/// is no such reason.
///
/// The test returns after it. The reason goes to the file that
/// `$MYDOCKER_SKIP_FILE` names, where the runner counts it.
pub fn skip(reason: &str) {
    if let Some(path) = env::var_os("MYDOCKER_SKIP_FILE") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{reason}"));
        written.expect("the file of skips can be written");
    }
    eprintln!("skipped: {reason}");
}

/// Skip a test that needs the controllers memory and cpuset, where one is missing:
/// whether it is skipped.
pub fn lack_memory_or_cpuset() -> bool {
    let missing = !["memory", "cpuset"].into_iter().all(has_controller);
    if missing {
        skip("this kernel has no cgroup v1 memory and cpuset");
    }
    missing
}
