//! Cgroups that systemd delegates. A real systemd, with its message bus and its login
//! service, runs in the VM: it is process 1 of its own namespaces, and the root of
//! the cgroups that it sees is a cgroup of the VM.
//!
//! `cargo xtask test systemd` runs these tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic fails the test"
)]

mod system;

use system::System;

/// What the hint says: the words before the command.
const HINT: &str = "systemd-run --user --scope -p Delegate=yes";

/// The container's view of its memory limit, on cgroup v2.
const LIMITED: &str =
    "mydocker run --rm --network none -m 64m busybox cat /sys/fs/cgroup/memory.max";

#[test]
fn the_hint_gives_an_ordinary_user_limits() {
    System::with(|system| {
        // A login session belongs to root.
        let refused = system.login(LIMITED);
        assert_eq!(refused.code, 125, "{refused:?}");
        assert!(refused.err.contains(HINT), "{refused:?}");

        let limited = system.login(&format!("{HINT} --quiet {LIMITED}"));
        assert_eq!(limited.out, "67108864\n", "{limited:?}");
        assert_eq!(limited.err, "", "{limited:?}");
        system.has_no_group();
    });
}
