//! The doctor's checks of what the build and the VM require, on machines that lack
//! it. The checks of the kernel are tested in the VM:
//! tests/tests/blackbox/doctor.rs.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// A machine with an empty PATH and an empty build directory.
struct Bare(TempDir);

impl Bare {
    fn new() -> Bare {
        Bare(tempfile::tempdir().unwrap())
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn doctor(&self) -> Command {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_chapter-tasks"));
        doctor.arg("doctor").env("PATH", self.0.path());
        let target = self.0.path().join("target");
        doctor.env("CARGO_TARGET_DIR", target).env_remove("MYDOCKER_BUSYBOX");
        doctor.env("MYDOCKER_ROOT", self.0.path().join("state"));
        doctor
    }

    /// The findings, and the exit status.
    fn found(&self) -> (Value, i32) {
        let output = self.doctor().arg("--json").output().unwrap();
        let json = serde_json::from_slice(&output.stdout);
        (
            json.unwrap_or_else(|e| panic!("{e}: {output:?}")),
            output.status.code().unwrap(),
        )
    }
}

/// Status, detail and fix of a check.
fn check(findings: &Value, id: &str) -> (String, String, String) {
    let mut checks = findings["checks"].as_array().unwrap().iter();
    let found = checks.find(|check| check["id"] == id);
    let found = found.unwrap_or_else(|| panic!("no {id}"));
    let word = |key: &str| found[key].as_str().unwrap_or("").to_owned();
    (word("status"), word("detail"), word("fix"))
}

fn is(findings: &Value, id: &str, status: &str, detail: &str, fix: &str) {
    let found = check(findings, id);
    assert_eq!(found.0, status, "{id}: {found:?}");
    assert!(found.1.contains(detail) && found.2.contains(fix), "{id}: {found:?}");
}

#[test]
fn doctor_names_each_missing_program_and_its_remedy() {
    let bare = Bare::new();
    let (found, code) = bare.found();
    is(&found, "compiler", "fail", "no cc in PATH", "apt-get install gcc");
    is(&found, "static-programs", "fail", "rustc", "compiler");
    is(&found, "qemu", "fail", "no qemu-system-x86_64 in PATH", "install QEMU's");
    is(&found, "kvm", "unknown", "only QEMU can check it", "install QEMU first");
    is(&found, "kernel", "fail", "no apt-get", "--kernel PATH");
    is(&found, "busybox", "fail", "no apt-get", "export MYDOCKER_BUSYBOX=FILE");
    is(&found, "vm-busybox", "fail", "no apt-get", "export MYDOCKER_BUSYBOX=FILE");
    is(&found, "mdbook", "warn", "not installed", "cargo xtask book");
    is(&found, "build-directory", "ok", "programs can be executed", "");
    assert_eq!(found["summary"]["main_job"], "fail");
    assert_eq!(found["summary"]["vm_tests"], "fail");
    assert_eq!(code, 5);
    let text = bare.doctor().output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("\nFAIL  compiler "), "{text}");
    assert!(
        text.ends_with("the tests in a VM: cannot run here: see FAIL\n"),
        "{text}"
    );
    assert_eq!(
        fs::read_dir(bare.0.path()).unwrap().count(),
        0,
        "the doctor left a file"
    );
}

#[test]
fn doctor_names_a_package_manager_but_does_not_run_it() {
    let bare = Bare::new();
    bare.program("apt-get", "echo called > \"$0.called\"");
    let (found, _) = bare.found();
    is(&found, "kernel", "ok", "apt-get can download it", "");
    is(&found, "vm-busybox", "ok", "apt-get can download it", "");
    // As root, the tests install it.
    let status = if nix::unistd::geteuid().is_root() { "warn" } else { "fail" };
    let line = "apt-get install --yes --no-install-recommends qemu-system-x86";
    is(&found, "qemu", status, "no qemu-system-x86_64 in PATH", line);
    assert!(!bare.0.path().join("apt-get.called").exists());
}

#[test]
fn doctor_reports_a_broken_emulator_and_accepts_one_without_kvm() {
    let bare = Bare::new();
    let name = "qemu-system-x86_64";
    bare.program(name, "echo no such library >&2; exit 127");
    let (found, _) = bare.found();
    is(&found, "qemu", "fail", "no such library", "install QEMU 5.2 or later");
    bare.program(name, "[ \"$1\" = --version ] && echo QEMU emulator version 0.1");
    let (found, _) = bare.found();
    is(&found, "qemu", "ok", "QEMU 0.1", "");
    is(&found, "kvm", "warn", "", "by emulation");
}

#[test]
fn doctor_names_a_read_only_build_directory() {
    let bare = Bare::new();
    // Not even root can create files there.
    let mut doctor = bare.doctor();
    doctor.env("CARGO_TARGET_DIR", "/proc/self/target").arg("--json");
    let output = doctor.output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    is(
        &found,
        "build-directory",
        "fail",
        "mkdir(2) /proc",
        "export CARGO_TARGET_DIR",
    );
    assert_eq!(output.status.code(), Some(5));
}
