//! Choosing between KVM and emulation by a timed probe. Some hosts have a /dev/kvm
//! that emulates each instruction itself: it is slower than QEMU, and fails on
//! unknown instructions.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use nix::sys::stat::{major, minor};
use serde::{Deserialize, Serialize};

use super::qemu::Qemu;

/// How the guest's instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By QEMU, which translates them.
    Tcg,
}

impl Accelerator {
    /// The name, for a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "KVM",
            Accelerator::Tcg => "emulation",
        }
    }
}

/// The user's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// KVM if a timed probe succeeds, otherwise emulation
    Auto,
    /// KVM: the processor itself
    Kvm,
    /// Emulation by QEMU
    Tcg,
}

/// The number of rounds of the probe's loop, with two instructions each.
const ROUNDS: u32 = 2_000_000;

/// The time limit of the probe. A working KVM needs less than 80 ms, a bad one two
/// seconds. The limit includes the start of QEMU on a busy machine.
const LIMIT: Duration = Duration::from_millis(600);

/// The value that the probe writes to isa-debug-exit.
const DONE: u8 = 0x2a;

/// The result of the probe, and the conditions under which it is valid.
#[derive(Serialize, Deserialize)]
struct ProbeResult {
    /// The boot ID of the host, the version of QEMU, and the user.
    key: String,
    accelerator: Accelerator,
    reason: String,
}

/// Choose the accelerator; returns the reason too. The probe's result is stored in
/// `directory`, and is valid until the host reboots.
///
/// # Errors
/// The directory is not writable.
pub fn choose(
    choice: Choice,
    qemu: &Qemu,
    directory: &Path,
) -> Result<(Accelerator, String)> {
    match choice {
        Choice::Tcg => return Ok((Accelerator::Tcg, "as requested".into())),
        Choice::Kvm => return Ok((Accelerator::Kvm, "as requested".into())),
        Choice::Auto => {}
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let uid = nix::unistd::geteuid();
    let key = format!("{} {} {uid}", boot.unwrap_or_default().trim(), qemu.version);
    let path = directory.join("accelerator.json");
    let kept = fs::read(&path).ok();
    let kept =
        kept.and_then(|text| serde_json::from_slice::<ProbeResult>(&text).ok());
    if let Some(found) = kept.filter(|found| found.key == key) {
        return Ok((found.accelerator, found.reason));
    }
    let (accelerator, reason) = match probe(qemu, directory, Path::new(DEVICE))? {
        Ok(reason) => (Accelerator::Kvm, reason),
        Err(reason) => (Accelerator::Tcg, reason),
    };
    let found = ProbeResult { key, accelerator, reason: reason.clone() };
    fs::write(&path, serde_json::to_vec_pretty(&found)?)
        .with_context(|| path.display().to_string())?;
    Ok((accelerator, reason))
}

/// The device file of KVM.
pub const DEVICE: &str = "/dev/kvm";

/// The number of the device.
///
/// # Source
/// Documentation/admin-guide/devices.txt
const NUMBER: (u64, u64) = (10, 232);

/// Whether KVM works, and why. `device` is its device file. The probe's program is
/// stored in `directory` while it runs.
///
/// # Errors
/// QEMU cannot be started; the directory is not writable.
pub fn probe(
    qemu: &Qemu,
    directory: &Path,
    device: &Path,
) -> Result<Result<String, String>> {
    let shown = device.display();
    let meta = match File::options().read(true).write(true).open(device) {
        Ok(file) => file.metadata().with_context(|| shown.to_string())?,
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            let remedy = "members of the group kvm may use it, and are faster";
            return Ok(Err(format!("{shown}: permission denied: {remedy}")));
        }
        Err(e) => return Ok(Err(format!("{shown}: {e}"))),
    };
    let number = (major(meta.rdev()), minor(meta.rdev()));
    if !meta.file_type().is_char_device() || number != NUMBER {
        return Ok(Err(format!("{shown} exists, but is not KVM")));
    }
    let path = directory.join(format!("probe-{}.bin", std::process::id()));
    fs::write(&path, firmware()).with_context(|| path.display().to_string())?;
    let timed = run_probe(qemu, &path);
    fs::remove_file(&path).with_context(|| path.display().to_string())?;
    timed
}

fn run_probe(qemu: &Qemu, firmware: &Path) -> Result<Result<String, String>> {
    let begun = Instant::now();
    let mut child = Command::new(&qemu.program)
        .args(["-M", "microvm", "-accel", "kvm", "-m", "16M", "-nodefaults"])
        .args(["-no-user-config", "-display", "none", "-no-reboot", "-bios"])
        .arg(firmware)
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start QEMU")?;
    loop {
        if let Some(status) = child.try_wait()? {
            let took = begun.elapsed().as_millis();
            let done = (i32::from(DONE) << 1) | 1;
            return Ok(match status.code() {
                Some(code) if code == done => Ok(format!(
                    "four million instructions took {took} ms, including the start"
                )),
                _ => Err("KVM exists, but cannot execute a loop".into()),
            });
        }
        if begun.elapsed() > LIMIT {
            child.kill().and_then(|()| child.wait()).context("end QEMU")?;
            return Ok(Err(format!(
                "KVM exists, but did not execute four million instructions in {} ms",
                LIMIT.as_millis()
            )));
        }
        sleep(Duration::from_millis(2));
    }
}

/// A ROM of 64 KiB: the processor starts 16 bytes below its end.
///
/// # Source
/// Intel SDM volume 3, "First Instruction Executed"
fn firmware() -> Vec<u8> {
    const CODE: usize = 0xff00;
    let mut rom = vec![0xf4; 0x1_0000]; // hlt everywhere
    let mut put = |at: usize, bytes: &[u8]| {
        rom[at..at + bytes.len()].copy_from_slice(bytes);
    };
    // jmp CODE, relative to the next instruction
    let distance = (CODE as u16).wrapping_sub(0xfff3).to_le_bytes();
    put(0xfff0, &[0xe9, distance[0], distance[1]]);
    let [a, b, c, d] = ROUNDS.to_le_bytes();
    let code = [
        0x66, 0xb9, a, b, c, d, // mov ecx, ROUNDS
        0x66, 0x49, // again: dec ecx
        0x75, 0xfc, // jnz again
        0xb0, DONE, // mov al, DONE
        0xe6, 0xf4, // out 0xf4, al
        0xf4, 0xeb, 0xfd, // hlt, for ever
    ];
    put(CODE, &code);
    rom
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(device: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        // QEMU must not be started if there is no KVM.
        let program = dir.path().join("none");
        let qemu = Qemu { program, version: String::new() };
        probe(&qemu, dir.path(), Path::new(device)).unwrap().unwrap_err()
    }

    #[test]
    fn a_missing_kvm_and_a_device_that_is_not_kvm_are_distinguished() {
        assert!(refused("/nonexistent/kvm").contains("No such file"));
        assert!(refused("/dev/null").contains("exists, but is not KVM"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert!(refused(path).contains("exists, but is not KVM"));
    }
}
