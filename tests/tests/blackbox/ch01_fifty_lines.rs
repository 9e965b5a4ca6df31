//! ch01-fifty-lines: a complete container in fifty lines, and its faults.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsStr;

use blackbox::{Lab, probe};
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

#[test]
#[file_serial(machine)]
fn it_executes_itself_again_as_pid_1_with_another_hostname() {
    let lab = Lab::new();
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut run = lab.chapter("ch01-fifty-lines");
    run.args(["run", "sh", "-c", "hostname; readlink /proc/self/ns/net; exit 7"]);
    let net = std::fs::read_link("/proc/self/ns/net").unwrap();
    // Both process IDs are printed: the host's, and 1.
    let ids = predicate::str::is_match(r"(?s)as [0-9]{2,}\n.* as 1\n").unwrap();
    run.assert()
        .code(7)
        .stdout(format!("maverick\n{}\n", net.display()))
        .stderr(ids);
    let after = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(after, before);
}

#[test]
#[file_serial(machine)]
fn it_changes_the_root_to_a_directory() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch01-fifty-lines");
    // Nothing of the host is visible. (The host may have busybox too.)
    let script = format!("ls /; ls -d /proc/1; ls -d {}", lab.dir().display());
    run.env("ROOT", lab.image()).args(["run", "sh", "-c", &script]);
    let hidden = contains(lab.dir().display().to_string()).not();
    let inside = contains("linuxrc").and(contains("/proc/1")).and(hidden);
    run.assert().code(1).stdout(inside);
    // Without ROOT, every file of the host is visible.
    let mut run = lab.chapter("ch01-fifty-lines");
    run.args(["run", "ls", "-d"]).arg(lab.dir());
    run.assert().success().stdout(format!("{}\n", lab.dir().display()));
}

#[test]
#[file_serial(machine)]
fn it_leaves_no_mount_on_a_host_with_a_shared_root() {
    let lab = Lab::new();
    let probe = probe();
    let mut run =
        lab.wrapped(&[probe.as_os_str(), OsStr::new("shared")], "ch01-fifty-lines");
    run.args(["run", "true"]).assert().success();
}

#[test]
#[file_serial(machine)]
fn it_has_the_faults_that_the_page_describes() {
    let lab = Lab::new();
    // The program is not PID 1, but its child. The number of a signal is lost. The
    // caller's environment is visible inside.
    let mut run = lab.chapter("ch01-fifty-lines");
    let script = "test $$ != 1 && echo $SECRET; kill -9 $$";
    run.env("SECRET", "leaked").args(["run", "sh", "-c", script]);
    run.assert().code(1).stdout("leaked\n");
}

#[test]
#[file_serial(machine)]
fn it_prints_the_remedy_without_root_or_without_a_command() {
    let lab = Lab::new();
    let mut run = lab.as_user("ch01-fifty-lines");
    run.args(["run", "true"]).assert().code(1).stderr(contains("use sudo"));
    let mut run = lab.chapter("ch01-fifty-lines");
    run.assert().code(1).stderr(contains("usage: ch01-fifty-lines run COMMAND"));
}
