//! A command whose output cannot be written fails. A command whose reader has closed the
//! pipe does not fail.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::File;
use std::process::{Output, Stdio};

use blackbox::{CAT, Lab, end, started};
use serial_test::file_serial;

const BIN: &str = "ch06-ports";

/// The commands that print something if a container `one` is running.
const COMMANDS: [(&str, &str); 17] = [
    ("ch02-cgroups", "list"),
    ("ch02-ipc", "list"),
    ("ch02-net", "list"),
    ("ch02-setns", "list"),
    (BIN, "images"),
    (BIN, "ps"),
    (BIN, "ps --json"),
    (BIN, "logs one"),
    (BIN, "port one"),
    (BIN, "network list"),
    (BIN, "network inspect web"),
    (BIN, "run -d --name two busybox true"),
    (BIN, "wait two"),
    (BIN, "rm two"),
    (BIN, "run --rm busybox echo hi"),
    (BIN, "--help"),
    (BIN, "run --help"),
];

fn into(lab: &Lab, stdout: impl Into<Stdio>, bin: &str, words: &str) -> Output {
    let mut command = lab.command(&[], bin);
    let command = command.args(words.split(' ')).stdin(Stdio::null());
    command
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

fn with_container(act: impl Fn(&Lab)) {
    let lab = Lab::new();
    lab.chapter(BIN).args(["network", "create", "web"]).assert().success();
    let run = started(
        lab.command(&[], BIN),
        &["run", "--name", "one", "-net", "web", "-p", "127.0.0.1:4080:80"],
        CAT,
    );
    act(&lab);
    end(run);
    lab.chapter(BIN).args(["rm", "one"]).assert().success();
    lab.chapter(BIN).args(["network", "remove", "web"]).assert().success();
}

#[test]
#[file_serial(machine)]
fn each_command_that_prints_fails_on_a_full_disk() {
    with_container(|lab| {
        for (bin, words) in COMMANDS {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let out = into(lab, full, bin, words);
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(125), "{bin} {words}: {said}");
            assert!(said.contains("write(2)"), "{bin} {words}: {said}");
            assert!(
                said.contains("No space left on device"),
                "{bin} {words}: {said}"
            );
        }
    });
}

#[test]
#[file_serial(machine)]
fn each_command_that_prints_succeeds_on_a_closed_pipe() {
    with_container(|lab| {
        for (bin, words) in COMMANDS {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let out = into(lab, writer, bin, words);
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(said, "", "{bin} {words}");
            assert!(out.status.success(), "{bin} {words}: {:?}", out.status);
        }
    });
}

#[test]
#[file_serial(machine)]
fn a_program_whose_output_is_lost_keeps_its_exit_status_if_it_failed() {
    let lab = Lab::new();
    let mut run = lab.command(&[], "ch05-logs");
    run.args(["run", "--name", "one", "busybox", "sh", "-c", "echo lost; exit 3"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let out = run.stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(3));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("the program's output to stdout: ENOSPC"), "{said}");
    // The exit status of the program is recorded.
    let ps = lab.chapter("ch05-logs").args(["ps", "-a"]).assert().success();
    let listed = String::from_utf8_lossy(&ps.get_output().stdout).into_owned();
    assert!(listed.contains("Exited (3)"), "{listed}");
    lab.chapter("ch05-rm").args(["rm", "one"]).assert().success();
}
