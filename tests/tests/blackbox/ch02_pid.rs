//! ch02-pid: PID 1, and its effect on the end of a container and on signals.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blackbox::Lab;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::prelude::*;
use serial_test::file_serial;

#[test]
#[file_serial(machine)]
fn the_first_process_has_pid_1() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch02-pid");
    run.args(["run", "sh", "-c", "echo $$"]).assert().success().stdout("1\n");
    let mut run = lab.chapter("ch02-ipc");
    let other = predicate::ne("1\n");
    run.args(["run", "sh", "-c", "echo $$"]).assert().success().stdout(other);
}

#[test]
#[file_serial(machine)]
fn no_process_outlives_pid_1() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch02-pid");
    let script = "setsid sleep 1000 >/dev/null 2>&1 & sleep 0.1; exit 3";
    // If the daemon kept the output open, this call would wait for it.
    run.args(["run", "sh", "-c", script]).assert().code(3);
    // The lab looks for the daemon.
}

/// Start `script` in the container and wait until it says "ready".
fn ready(lab: &Lab, script: &str) -> (Child, impl BufRead) {
    let mut command: Command = lab.command(&[], "ch02-pid");
    command.args(["run", "sh", "-c", script]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

#[test]
#[file_serial(machine)]
fn a_signal_reaches_the_programs_handler() {
    let lab = Lab::new();
    let script =
        "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut child, mut out) = ready(&lab, script);
    send(&child, Signal::SIGTERM);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "got\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
#[file_serial(machine)]
fn a_second_signal_kills_a_pid_1_without_a_handler() {
    let lab = Lab::new();
    // Not a shell: a shell that runs a -c script catches SIGINT.
    let mut command: Command = lab.command(&[], "ch02-pid");
    let mut child = command.args(["run", "sleep", "1000"]).spawn().unwrap();
    let pid = child.id();
    let children = format!("/proc/{pid}/task/{pid}/children");
    // The name changes before execve(2) has finished. The process sleeps only when the
    // program runs.
    let asleep = || {
        let inside = std::fs::read_to_string(&children).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", inside.trim()));
        stat.is_ok_and(|stat| stat.contains("(sleep) S "))
    };
    while !asleep() {
        std::thread::sleep(Duration::from_millis(5));
    }
    send(&child, Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        child.try_wait().unwrap().is_none(),
        "the first SIGINT ended the program"
    );
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

#[test]
#[file_serial(machine)]
fn a_pid_1_that_ignores_sigterm_is_killed_after_ten_seconds() {
    let lab = Lab::new();
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut child, _out) = ready(&lab, script);
    let start = Instant::now();
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(137));
    assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
}

#[test]
#[file_serial(machine)]
fn a_container_that_ignores_signals_ends_with_its_killed_supervisor() {
    let lab = Lab::new();
    let script = "trap '' TERM INT HUP; setsid sleep 1000 & echo ready; \
                  while :; do sleep 0.05; done";
    let (mut child, _out) = ready(&lab, script);
    send(&child, Signal::SIGKILL);
    child.wait().unwrap();
    // The lab looks for the program and its daemon.
}

#[test]
#[file_serial(machine)]
fn run_returns_the_exit_status_if_the_caller_ignores_sigchld() {
    let lab = Lab::new();
    let probe = blackbox::probe();
    let ignoring = [probe.as_os_str(), "ignoring-sigchld".as_ref()];
    let mut run = lab.wrapped(&ignoring, "ch02-pid");
    run.args(["run", "sh", "-c", "exit 4"]).assert().code(4);
}
