//! Tests of `cargo xtask grade` with foreign programs and with our own: each gets
//! the right verdict. Each test boots a VM: `cargo test -p xtask --test grade`. They
//! do not need root.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graded").join(name)
}

/// The result for a program: the exit status, the table, the results, the JUnit
/// file.
struct Grade {
    code: Option<i32>,
    text: String,
    results: Value,
    junit: String,
}

fn grade(binary: &Path, words: &[&str]) -> Grade {
    let dir = tempfile::tempdir().unwrap();
    let (json, junit) =
        (dir.path().join("results.json"), dir.path().join("junit.xml"));
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("grade")
        .arg(binary)
        .args(words)
        .arg("--json")
        .arg(&json)
        .arg("--junit")
        .arg(&junit)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let (out, err) = (&output.stdout, &output.stderr);
    let text =
        format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    let read =
        |path| fs::read(path).unwrap_or_else(|_| panic!("no results: {text}"));
    Grade {
        code: output.status.code(),
        results: serde_json::from_slice(&read(&json)).unwrap(),
        junit: String::from_utf8(read(&junit)).unwrap(),
        text,
    }
}

impl Grade {
    fn test(&self, name: &str) -> &Value {
        let mut tests = self.results["tests"].as_array().unwrap().iter();
        tests
            .find(|test| test["name"] == name)
            .unwrap_or_else(|| panic!("no {name}"))
    }

    fn assert(&self, name: &str, verdict: &str, reason: &str) {
        let test = self.test(name);
        let message = test["message"].as_str().unwrap_or_default();
        let holds = test["verdict"] == verdict && message.contains(reason);
        assert!(holds, "{name}: {test:#}");
    }

    /// The line of the table.
    fn row(&self, capability: &str) -> Vec<&str> {
        let mut lines =
            self.text.lines().map(|line| line.split_whitespace().collect());
        lines.find(|words: &Vec<&str>| words.first() == Some(&capability)).unwrap()
    }
}

#[test]
fn our_own_program_passes_all_checks() {
    // The program is dynamically linked: its loader and libraries are packed with it.
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut build = Command::new(cargo);
    build.args([
        "build",
        "--quiet",
        "--package",
        "ch04-volume",
        "--message-format=json",
    ]);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let binary = lines
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "ch04-volume")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap();
    let grade = grade(&binary, &[]);
    assert_eq!(grade.code, Some(0), "{}", grade.text);
    assert_eq!(grade.results["status"], "pass", "{}", grade.text);
    let tests = grade.results["tests"].as_array().unwrap();
    assert!(tests.len() > 35, "{}", tests.len());
    assert!(tests.iter().all(|test| test["status"] == "pass"), "{}", grade.text);
    assert_eq!(grade.results["skipped"].as_array().unwrap().len(), 0);
    assert_eq!(grade.row("volume"), ["volume", "3/3", "pass"]);
}

#[test]
fn a_shell_script_passes_its_claims_and_skips_the_other_checks() {
    let adapter = here("sandbox.toml");
    let words = ["--adapter", adapter.to_str().unwrap()];
    let grade = grade(&here("sandbox.sh"), &words);
    assert_eq!(grade.code, Some(0), "{}", grade.text);
    assert_eq!(grade.results["status"], "pass");
    for capability in ["argv", "exit-code", "uts", "pid", "mount", "net", "proc"] {
        assert_eq!(grade.row(capability)[2], "pass", "{}", grade.text);
    }
    for capability in ["signals", "user", "tty", "limits", "pivot", "overlay"] {
        assert_eq!(grade.row(capability)[2..].join(" "), "skip: not claimed");
    }
    let row = grade.row("volume").join(" ");
    let reason = "pass, some skipped: the adapter has no words for a volume to read";
    assert_eq!(row, format!("volume 2/3 {reason}"));
    assert!(grade.junit.contains("<skipped"), "{}", grade.junit);
}

#[test]
fn each_fault_of_a_wrong_program_is_reported() {
    let adapter = here("wrong.toml");
    let words = ["--adapter", adapter.to_str().unwrap()];
    let grade = grade(&here("wrong.py"), &words);
    assert_eq!(grade.code, Some(1), "{}", grade.text);
    assert_eq!(grade.results["status"], "fail");
    for (name, verdict, reason) in [
        ("argv: arguments are passed unchanged", "fail", "<a b><it's>"),
        (
            "exit-code: the exit status of the program is returned",
            "fail",
            "expected: exit code 3\nactual:   \"\", exit code 0",
        ),
        (
            "exit-code: a missing program gives exit status 127",
            "fail",
            "expected: exit code 127",
        ),
        (
            "signals: a signal to the outer process reaches the program",
            "fail",
            "actual:   hang: ",
        ),
        (
            "signals: no process survives if the outer process is killed",
            "fail",
            "actual:   sleep runs on",
        ),
        (
            "uts: a hostname set inside is not visible outside",
            "fail",
            "expected: the host name outside to be \"outside\" still\nactual:   it is \
             \"inside\"",
        ),
        ("uts: the namespace is new", "fail", "expected: another one than uts:["),
        ("ipc: a queue created outside is not visible inside", "fail", "\"1\\n\""),
        ("pid: the program is pid 1", "fail", "\"1\\n\" on standard output"),
        ("pid: no process of the container outlives pid 1", "fail", "exit code 4"),
        (
            "mount: a mount made inside is not visible outside",
            "fail",
            "host's mount table",
        ),
        ("net: a port of the host cannot be reached from inside", "fail", "reached"),
        ("proc: the program sees only itself in proc", "fail", "\"/proc/1\\n\""),
        (
            "tty: ctrl c reaches the program and its exit status is returned",
            "fail",
            "exit code 7",
        ),
        (
            "pivot: rejoining its mount namespace does not reach the host",
            "fail",
            "\"reached\\n\"",
        ),
        ("pivot: no mount of the host is visible", "fail", "grade-marker"),
        (
            "limits: a process that exceeds the memory limit is killed",
            "error",
            "crashed: SIGABRT",
        ),
        ("limits: the limit of processes is enforced", "error", "printed its usage"),
        (
            "overlay: a write does not change the image",
            "fail",
            "it has /tmp/grade-was-here",
        ),
        ("overlay: a write is not visible in the next run", "fail", "\"there\\n\""),
        (
            "overlay: a removed file exists again in the next run",
            "fail",
            "\"gone\\n\"",
        ),
        ("volume: a read only volume cannot be written", "fail", "refused"),
        (
            "volume: a write in the container appears on the host",
            "leak",
            "mount left: ",
        ),
    ] {
        grade.assert(name, verdict, reason);
    }
    // The output must contain what is needed to fix the program.
    assert!(grade.text.contains("read:     book/src/ch02-uts.md"), "{}", grade.text);
    assert!(grade.text.contains("ran:      /usr/lib/grade/bin/wrong.py"));
    assert_eq!(grade.row("volume")[2], "fail");
    assert_eq!(grade.row("limits")[2], "error");
    assert!(grade.junit.contains("type=\"leak\""), "{}", grade.junit);
    assert!(grade.junit.contains("<error"), "{}", grade.junit);
}

#[test]
fn a_program_that_cannot_be_started_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("box");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o644)).unwrap();
    let grade = grade(&program, &["--chapter", "ch02-uts"]);
    assert_eq!(grade.code, Some(1), "{}", grade.text);
    assert_eq!(grade.results["status"], "error", "{}", grade.text);
    let message = grade.results["message"].as_str().unwrap();
    assert!(message.contains("not started: Permission denied"), "{message}");
}

#[test]
fn invalid_requests_get_a_clear_error() {
    let adapter = here("sandbox.sh");
    for (words, reason) in [
        (&["grade", "/nonexistent"][..], "/nonexistent"),
        (
            &["grade", "/bin/sh", "--chapter", "ch02-setns"],
            "ch02-setns cannot be graded",
        ),
        (&["grade", "/bin/sh", "--adapter", "/nonexistent"], "/nonexistent"),
        (
            &["grade", "/bin/sh", "--adapter", adapter.to_str().unwrap()],
            "sandbox.sh",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let output = command.args(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("error: ") && text.contains(reason), "{text}");
    }
}
