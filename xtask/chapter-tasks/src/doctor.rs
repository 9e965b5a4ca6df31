//! `cargo xtask doctor` reports what this machine can run, and what is missing. The
//! crate `doctor` checks the kernel. This file checks the requirements of the build
//! and of the VM.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ::doctor::{Check, Report, Task, can_execute};
use anyhow::{Context, Result};
use common::rights;
use common::step::report as error_text;
use provision::busybox;
use provision::command::run as run_command;
use provision::room::room;

use xtask::checkout::target;
use xtask::install::{Installer, on_path};
use xtask::progress::Progress;
use xtask::vm::accelerator::{self, DEVICE};
use xtask::vm::qemu::{self, Qemu};
use xtask::vm::scratch::Scratch;
use xtask::{book, build, vm};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the findings as JSON: `checks`, each with id, status (ok, warn, fail,
    /// unknown), detail, fix and needed_for; and `summary`, with main_job and
    /// vm_tests (ok, fail, unknown)
    #[arg(long)]
    json: bool,
}

/// Run all checks and print the findings. The exit status is 0 if containers and the
/// tests in a VM can run, 3 if containers cannot, 4 if the tests cannot, 5 if
/// neither can.
///
/// # Errors
/// The findings cannot be written.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let progress =
        Progress::start("trying namespaces, mounts, devices and firewall rules");
    let mut checks = ::doctor::machine();
    progress.step("trying the compiler and the VM");
    checks.extend(tools());
    drop(progress);
    let report = Report::new(checks);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(ExitCode::from(report.exit_code()))
}

const BOTH: &[Task] = &[Task::MainJob, Task::VmTests];
const VM: &[Task] = &[Task::VmTests];

/// The checks of the requirements of the build and of the VM.
fn tools() -> Vec<Check> {
    let (emulator, found) = emulator();
    vec![
        build_directory().needed(BOTH),
        build_room().needed(VM),
        compiler().needed(BOTH),
        static_programs().needed(VM),
        emulator.needed(VM),
        kvm(found.as_ref()),
        kernel().needed(VM),
        vm_busybox().needed(VM),
        mdbook(),
    ]
}

fn build_directory() -> Check {
    let id = "build-directory";
    match can_execute(&target()) {
        Ok(()) => Check::ok(id, "programs can be executed in it"),
        Err(error) => Check::fail(
            id,
            error,
            "export CARGO_TARGET_DIR=DIR, a writable directory whose \
             filesystem is not mounted with noexec",
        ),
    }
}

/// The disk space for the build, for a kernel package, and for the unpacked kernel.
const REQUIRED_SPACE: u64 = 3 << 30;

fn build_room() -> Check {
    let id = "build-room";
    let target = target();
    let there = target.ancestors().find(|path| path.is_dir());
    match room(
        there.unwrap_or(Path::new("/")),
        REQUIRED_SPACE,
        "the build and a kernel",
    ) {
        Ok(()) => Check::ok(id, "enough disk space is free"),
        Err(error) => Check::warn(
            id,
            format!("{error:#}"),
            "free some space, or export CARGO_TARGET_DIR=DIR, a directory on another disk",
        ),
    }
}

/// The time limit of the compiler and linker.
const COMPILER_TIMEOUT: Duration = Duration::from_secs(60);

/// Build a program and run it.
fn build_and_run(flags: &[String]) -> Result<()> {
    let scratch = Scratch::new(&vm::directory().join("runs"))?;
    let (source, program) =
        (scratch.path().join("main.rs"), scratch.path().join("program"));
    fs::write(&source, "fn main() {}\n").context("write a program")?;
    let mut rustc = Command::new("rustc");
    rustc.args(flags).arg("-o").arg(&program).arg(&source);
    run_command(&mut rustc, COMPILER_TIMEOUT)?;
    run_command(&mut Command::new(&program), COMPILER_TIMEOUT).map(drop)
}

fn compiler() -> Check {
    let id = "compiler";
    if on_path("cc").is_none() && on_path("gcc").is_none() {
        let fix = "install a C compiler (Rust uses its linker): apt-get install gcc \
                   libc6-dev, dnf install gcc, apk add gcc musl-dev";
        return Check::fail(id, "no cc in PATH", fix);
    }
    match build_and_run(&[]) {
        Ok(()) => Check::ok(id, "rustc builds a program that runs"),
        Err(error) => Check::fail(
            id,
            error_text(&error),
            "install Rust 1.89 or later from https://rustup.rs, and a C compiler",
        ),
    }
}

fn static_programs() -> Check {
    let id = "static-programs";
    let host = match build::host() {
        Ok(host) => host,
        Err(error) => {
            return Check::fail(
                id,
                error_text(&error),
                "fix the compiler first: see above",
            );
        }
    };
    let flags = ["--target", &host, "-Ctarget-feature=+crt-static"];
    match build_and_run(&flags.map(str::to_owned)) {
        Ok(()) => Check::ok(id, format!("{host} links statically")),
        Err(error) => Check::fail(
            id,
            error_text(&error),
            "install the static C library: apt-get install libc6-dev, dnf install \
             glibc-static, apk add musl-dev",
        ),
    }
}

fn emulator() -> (Check, Option<Qemu>) {
    let id = "qemu";
    match qemu::search() {
        Ok(Some(qemu)) => {
            let shown = qemu.program.display();
            (Check::ok(id, format!("{}, {shown}", qemu.version)), Some(qemu))
        }
        Ok(None) => {
            let absent = format!("no {} in PATH", qemu::NAME);
            let check = match Installer::of(&[qemu::PACKAGE]) {
                Some(installer) if rights::privileged() => Check::warn(
                    id,
                    absent,
                    format!("cargo xtask test installs it: {}", installer.line()),
                ),
                Some(installer) => {
                    Check::fail(id, absent, format!("sudo {}", installer.line()))
                }
                None => Check::fail(
                    id,
                    absent,
                    "install QEMU's x86-64 system emulator with your package manager",
                ),
            };
            (check, None)
        }
        Err(error) => {
            let fix = "install QEMU 5.2 or later";
            (Check::fail(id, error_text(&error), fix), None)
        }
    }
}

/// The VM also works without KVM, by emulation.
fn kvm(qemu: Option<&Qemu>) -> Check {
    let id = "kvm";
    let Some(qemu) = qemu else {
        return Check::unknown(
            id,
            "only QEMU can check it",
            "install QEMU first: see above",
        );
    };
    let probed = Scratch::new(&vm::directory().join("runs")).and_then(|scratch| {
        accelerator::probe(qemu, scratch.path(), Path::new(DEVICE))
    });
    let reason = match probed {
        Ok(Ok(reason)) => return Check::ok(id, reason),
        Ok(Err(reason)) => reason,
        Err(error) => error_text(&error),
    };
    Check::warn(
        id,
        reason,
        format!(
            "not required: the VM runs by emulation. KVM is faster: modprobe \
             kvm_intel or kvm_amd, sudo usermod -aG kvm $USER for {DEVICE}; inside a \
             VM, enable nested virtualisation on its host"
        ),
    )
}

fn kernel() -> Check {
    let id = "kernel";
    let there = vm::directory().join("kernels/6.1/record.json");
    if there.is_file() {
        return Check::ok(id, "Linux 6.1 for the VM exists");
    }
    if on_path("apt-get").is_some() {
        return Check::ok(id, "apt-get can download it");
    }
    Check::fail(
        id,
        "no kernel for the VM, and no apt-get to download it",
        "cargo xtask test --kernel PATH, a vmlinux or bzImage with its modules in \
         ../lib/modules beside it",
    )
}

fn vm_busybox() -> Check {
    let id = "vm-busybox";
    match busybox::source(&vm::state()) {
        Ok(source) => Check::ok(id, source),
        Err(error) => Check::fail(
            id,
            error_text(&error),
            "export MYDOCKER_BUSYBOX=FILE, a static busybox",
        ),
    }
}

fn mdbook() -> Check {
    let id = "mdbook";
    match book::found() {
        Some(path) => Check::ok(id, path.display().to_string()),
        None => Check::warn(id, "not installed", "cargo xtask book installs it"),
    }
}
