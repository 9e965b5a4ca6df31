//! ch02-mount: mounts made inside are not visible outside.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use blackbox::{Lab, probe};
use predicates::prelude::*;
use serial_test::file_serial;

#[test]
#[file_serial(machine)]
fn a_mount_made_inside_is_not_visible_outside() {
    let lab = Lab::new();
    let script = "mount -t tmpfs inside /mnt && touch /mnt/x && grep -c ' /mnt ' \
                  /proc/self/mountinfo";
    let mut run = lab.chapter("ch02-mount");
    run.args(["run", "sh", "-c", script]).assert().success().stdout("1\n");
    assert!(!std::path::Path::new("/mnt/x").exists());
    // The lab compares the host's mount table.
}

#[test]
#[file_serial(machine)]
fn mounts_stay_inside_whether_the_hosts_root_is_shared_or_private() {
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
fn a_new_proc_mount_shows_only_the_containers_processes() {
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
fn run_explains_that_a_chroot_is_not_a_mount_point() {
    let lab = Lab::new();
    let probe = probe();
    let jail = lab.dir().join("jail");
    let wrapper = [probe.as_os_str(), "chrooted".as_ref(), jail.as_os_str()];
    let mut run = lab.wrapped(&wrapper, "ch02-mount");
    let said = predicate::str::contains("mount(2) / MS_REC|MS_PRIVATE: EINVAL").and(
        predicate::str::contains("hint: the root directory is not a mount point"),
    );
    run.args(["run", "echo", "it ran"]).assert().code(125).stdout("").stderr(said);
    // A chapter that makes no mounts works in a chroot.
    let jail = lab.dir().join("jail2");
    let wrapper = [probe.as_os_str(), "chrooted".as_ref(), jail.as_os_str()];
    let mut run = lab.wrapped(&wrapper, "ch02-pid");
    run.args(["run", "echo", "it ran"]).assert().success().stdout("it ran\n");
}
