//! ch02-mount: mounts made inside are not seen outside.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use blackbox::{Lab, probe};
use predicates::prelude::*;
use serial_test::file_serial;

#[test]
#[file_serial(machine)]
fn a_mount_made_inside_is_not_seen_outside() {
    let lab = Lab::new();
    let script = "mount -t tmpfs inside /mnt && touch /mnt/x && grep -c ' /mnt ' \
                  /proc/self/mountinfo";
    let mut run = lab.chapter("ch02-mount");
    run.args(["run", "sh", "-c", script]).assert().success().stdout("1\n");
    assert!(!std::path::Path::new("/mnt/x").exists());
    // The lab compares the host's table.
}

#[test]
#[file_serial(machine)]
fn a_shared_root_of_the_host_changes_nothing() {
    let lab = Lab::new();
    let probe = probe();
    let script = "mount -t tmpfs inside /mnt; mount -t proc proc /proc; ps | wc -l";
    for kind in ["shared", "private"] {
        let wrapper = [probe.as_os_str(), kind.as_ref()];
        let mut run = lab.wrapped(&wrapper, "ch02-mount");
        run.args(["run", "sh", "-c", script]).assert().success();
    }
    assert!(std::fs::metadata("/proc/self/stat").is_ok());
}

#[test]
#[file_serial(machine)]
fn an_own_proc_shows_the_own_processes_only() {
    let lab = Lab::new();
    let script = "mount -t proc proc /proc; echo /proc/[0-9]*";
    for mut run in [lab.chapter("ch02-mount"), lab.as_user("ch02-mount")] {
        run.args(["run", "sh", "-c", script]);
        run.assert().success().stdout(
            predicate::eq("/proc/1\n").or(predicate::eq("/proc/1 /proc/2\n")),
        );
    }
}

#[test]
#[file_serial(machine)]
fn inside_a_chroot_it_says_what_the_kernel_wants() {
    let lab = Lab::new();
    let probe = probe();
    let jail = lab.dir().join("jail");
    let wrapper = [probe.as_os_str(), "chrooted".as_ref(), jail.as_os_str()];
    let mut run = lab.wrapped(&wrapper, "ch02-mount");
    let said = predicate::str::contains("mount(2) / MS_REC|MS_PRIVATE: EINVAL").and(
        predicate::str::contains("hint: the root directory is not a mount point"),
    );
    run.args(["run", "echo", "it ran"]).assert().code(125).stdout("").stderr(said);
    // What needs no mounts runs there.
    let jail = lab.dir().join("jail2");
    let wrapper = [probe.as_os_str(), "chrooted".as_ref(), jail.as_os_str()];
    let mut run = lab.wrapped(&wrapper, "ch02-pid");
    run.args(["run", "echo", "it ran"]).assert().success().stdout("it ran\n");
}
