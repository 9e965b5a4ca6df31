//! Adverse conditions: limits of the caller, a full disk, a removed working directory,
//! stopped processes.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::ffi::OsStr;
use std::fs;
use std::process::{Child, Stdio};

use blackbox::{Caller, Lab, One, state_of, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

const BIN: &str = "ch07-pull";

/// Run this script of the host's shell, with the binary as `$0`.
fn shell(lab: &Lab, script: &str) -> assert_cmd::assert::Assert {
    let words = ["sh", "-c", script].map(OsStr::new);
    lab.wrapped(&words, BIN).assert()
}

#[test]
#[file_serial(machine)]
fn the_supervisor_survives_a_log_larger_than_the_file_size_limit() {
    let lab = Lab::new();
    // 20 blocks of 512 bytes; the program gets the limit and the signal.
    let lines = "i=0; while [ $i -lt 3000 ]; do echo 0123456789; i=$((i+1)); done";
    let run = format!(
        "ulimit -f 20; $0 run --name one busybox sh -c '{lines}; exit 7' | wc -l"
    );
    let out = shell(&lab, &run).success();
    assert_eq!(String::from_utf8_lossy(&out.get_output().stdout).trim(), "3000");
    shell(&lab, &format!(
        "ulimit -f 20; $0 run -d --name two busybox sh -c '{lines}; exit 8'; $0 wait two"
    ))
    .success()
    .stdout(contains("\n8\n"));
    let program = "dd if=/dev/zero of=/big bs=1k count=100 2>/dev/null";
    shell(&lab, &format!("ulimit -f 20; $0 run --name three busybox {program}"))
        // The signal does not end a PID 1, and write(2) fails.
        .code(1);
    let ps = lab.chapter(BIN).args(["ps", "-a"]).assert().success();
    let ps = String::from_utf8_lossy(&ps.get_output().stdout).into_owned();
    for status in ["Exited (7)", "Exited (8)", "Exited (1)"] {
        assert!(ps.contains(status), "{ps}");
    }
    shell(&lab, "ulimit -f 0; exec $0 run busybox true")
        .code(125)
        .stderr(contains("EFBIG").and(contains("hint: the file is larger")));
    lab.chapter(BIN).args(["rm", "one", "two", "three"]).assert().success();
}

#[test]
#[file_serial(machine)]
fn a_container_can_be_removed_when_the_disk_is_full() {
    let lab = Lab::new();
    // In its own mount namespace: the kernel removes the mount when the script ends.
    let script =
        "mount -t tmpfs -o size=8m none $HOME && export MYDOCKER_ROOT=$HOME/st
        $0 run --name one busybox sh -c 'exit 5'
        yes > $HOME/fill 2> /dev/null
        $0 ps -a | grep -q 'Exited (5)' || exit 1
        $0 run --name two busybox true 2> $HOME/../said && exit 2
        $0 rm one || exit 3
        [ -z \"$($0 ps -aq)\" ] || exit 4
        ls $MYDOCKER_ROOT/containers $MYDOCKER_ROOT/names $MYDOCKER_ROOT/running";
    let home = lab.dir().join("full");
    fs::create_dir(&home).unwrap();
    let words = ["unshare", "-m", "sh", "-c", script].map(OsStr::new);
    let mut command = lab.wrapped(&words, BIN);
    let out = command.env("HOME", &home).assert().success();
    let left = String::from_utf8_lossy(&out.get_output().stdout).into_owned();
    let left: Vec<&str> =
        left.lines().filter(|it| !it.is_empty() && !it.ends_with(':')).collect();
    assert_eq!(left, ["one"]);
    let said = fs::read_to_string(lab.dir().join("said")).unwrap();
    assert!(said.contains("ENOSPC"), "{said}");
}

#[test]
#[file_serial(machine)]
fn commands_work_in_a_removed_working_directory() {
    let lab = Lab::new();
    let inside = "mkdir gone && cd gone && rmdir ../gone && exec $0";
    for words in
        ["run --rm busybox echo ran", "run --rm -v /tmp:/t busybox echo ran"]
    {
        shell(&lab, &format!("{inside} {words}")).success().stdout("ran\n");
    }
    let relative = "run --rm -v some:/t busybox true";
    shell(&lab, &format!("{inside} {relative}"))
        .code(125)
        .stderr(contains("ENOENT"));
    // Chapters before pivot_root(2) keep the directory.
    let script = format!("{inside} run ls -a");
    let words = ["sh", "-c", &script].map(OsStr::new);
    lab.wrapped(&words, "ch02-uts").assert().success().stdout("");
}

/// A stopped client of `exec` in this container.
fn stopped_client(one: &One) -> Child {
    let mut exec = one.caller.command(one.lab, BIN);
    exec.args(["exec", "one", "sh", "-c", ": > /joined; exec sleep 1000"]);
    let exec = exec.stdin(Stdio::null()).spawn().unwrap();
    let id = one.id().unwrap();
    let upper = one.caller.state(one.lab).join("containers").join(id).join("upper");
    until(|| upper.join("joined").exists());
    let pid = exec.id() as i32;
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    until(|| state_of(pid) == Some('T'));
    exec
}

#[test]
#[file_serial(machine)]
fn stop_and_rm_end_a_container_with_a_stopped_exec_client() {
    for caller in Caller::BOTH {
        for words in [&["stop", "-t", "0", "one"][..], &["rm", "-f", "one"]] {
            let lab = Lab::new();
            let mut one = One::new(&lab, caller, &[], "");
            one.ends = true;
            let mut client = stopped_client(&one);
            let mut command = caller.chapter(&lab, BIN);
            command.args(words).assert().success().stdout("one\n");
            assert_eq!(client.wait().unwrap().code(), Some(137), "{words:?}");
        }
    }
}

#[test]
#[file_serial(machine)]
fn stop_ends_a_container_with_a_stopped_supervisor() {
    let lab = Lab::new();
    let mut one = One::new(&lab, Caller::Root, &[], "");
    one.ends = true;
    kill(Pid::from_raw(one.host.id() as i32), Signal::SIGSTOP).unwrap();
    lab.chapter(BIN).args(["stop", "-t", "0", "one"]).assert().success();
    assert_eq!(one.host.wait().unwrap().code(), Some(137));
    let ps = lab.chapter(BIN).args(["ps", "-a"]).assert().success();
    ps.stdout(contains("Exited (137)"));
}

#[test]
#[file_serial(machine)]
fn run_reports_a_missing_dev_null() {
    let lab = Lab::new();
    // The first starts a program that makes the image, the second one that creates the
    // default network.
    for (bin, words) in
        [(BIN, "run --pull always busybox true"), ("mydocker", "run busybox true")]
    {
        let script = format!(
            "mount -t tmpfs none /dev && mknod /dev/zero c 1 5 && exec $0 {words}"
        );
        let words = ["unshare", "-m", "sh", "-c", &script].map(OsStr::new);
        lab.wrapped(&words, bin)
            .assert()
            .code(125)
            .stderr(contains("error: open(2) /dev/null: ENOENT"));
    }
}
