//! QEMU: found, or installed if this process is privileged.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::rights;
use common::step::Step;
use provision::command::run;

use super::say;
use crate::install::{Installer, Package, on_path};

/// The emulator.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// Its path.
    pub program: PathBuf,
    /// The version, such as `QEMU 7.2.22`, for display and as a key.
    pub version: String,
}

/// The name of the program.
pub const NAME: &str = "qemu-system-x86_64";

/// The packages with the program.
pub const PACKAGE: Package = Package {
    apt: "qemu-system-x86",
    apk: "qemu-system-x86_64",
    dnf: "qemu-system-x86-core",
};

/// Find QEMU in PATH; root installs it if it is missing.
///
/// # Errors
/// QEMU is missing: the command that installs it.
pub fn find() -> Result<Qemu> {
    if let Some(qemu) = search()? {
        return Ok(qemu);
    }
    install()?;
    search()?.with_context(|| format!("{NAME} is still not in PATH"))
}

/// Search QEMU in PATH, without installing it.
///
/// # Errors
/// QEMU does not run; this machine has another architecture than the VM.
pub fn search() -> Result<Option<Qemu>> {
    if env::consts::ARCH != "x86_64" {
        bail!(
            "the VM is an x86-64 machine, and this host cannot build its programs"
        );
    }
    let Some(program) = on_path(NAME) else { return Ok(None) };
    let said =
        run(Command::new(&program).arg("--version"), Duration::from_secs(20))?;
    let text = String::from_utf8_lossy(&said.out).into_owned();
    // QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)
    let version = text.split_whitespace().nth(3).unwrap_or("of unknown version");
    Ok(Some(Qemu { program, version: format!("QEMU {version}") }))
}

fn install() -> Result<()> {
    let Some(installer) = Installer::of(&[PACKAGE]) else {
        bail!(
            "{NAME} not found in PATH: install QEMU's x86-64 system emulator with \
             your package manager"
        );
    };
    let command = installer.line();
    if !rights::privileged() {
        bail!("{NAME} not found in PATH; install it: sudo {command}");
    }
    let directory = super::directory();
    fs::create_dir_all(&directory)
        .step(|| format!("mkdir(2) {}", directory.display()))?;
    // One process installs it; the others wait and find it.
    let path = directory.join("install.lock");
    let lock = File::create(&path).step(|| format!("open(2) {}", path.display()))?;
    lock.lock().step(|| format!("flock(2) {}", path.display()))?;
    if on_path(NAME).is_some() {
        return Ok(());
    }
    say(&format!("{NAME} is not installed: {command}"));
    installer.run().with_context(|| format!("install QEMU by: {command}"))
}
