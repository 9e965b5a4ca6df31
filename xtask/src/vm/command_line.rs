//! The command lines: QEMU's, and in it the kernel's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use vm_init::{EXIT_PORT, place};

use super::accelerator::Accelerator;
use super::payload::BUSES;
use super::rung::Rung;
use super::{Disk, Set};
use crate::bound;

/// A VM's memory.
const MEMORY: &str = "512M";

/// What a VM's memory is.
pub(super) enum Memory<'a> {
    /// Its own.
    Own,
    /// This file, which it fills.
    Filling(&'a Path),
    /// This file to begin with; what it writes is its own.
    From(&'a Path),
}

/// What the kernel is not to set up: a tenth of the boot, and nothing of it is part of
/// a container. A name that a kernel doesn't have is passed over.
const SKIPPED: [&str; 11] = [
    // Thousands of files for tracing.
    "tracer_init_tracefs",
    // A self-test, keys for modules that nobody signed, and another kind of keys.
    "crypto_kdf108_init",
    "load_system_certificate_list",
    "init_encrypted",
    // Who registers functions for BPF programs has all the kernel's types read.
    "bpf_fs_kfuncs_init",
    "bpf_key_sig_kfuncs_init",
    "bpf_prog_test_run_init",
    "bpf_rstat_kfunc_init",
    "bpf_tcp_ca_kfunc_init",
    "cubictcp_register",
    "kfunc_init",
];

/// QEMU's command line.
pub(super) fn command(set: &Set, rung: &Rung, memory: &Memory) -> Result<Command> {
    let mut command = bound::command(&set.qemu.program);
    // Two processors, so that a container can be kept on one of them.
    let mut kind = rung.machine.to_owned();
    let file = match memory {
        Memory::Own => None,
        Memory::Filling(path) => Some((path, "on")),
        Memory::From(path) => Some((path, "off")),
    };
    if let Some((path, share)) = file {
        let path = path.to_string_lossy().replace(',', ",,");
        let memory = format!("size={MEMORY},share={share},mem-path={path}");
        command.args(["-object", &format!("memory-backend-file,id=ram,{memory}")]);
        kind += ",memory-backend=ram";
    }
    command.args(["-M", &kind, "-m", MEMORY, "-smp", "2"]);
    command.args(["-nodefaults", "-no-user-config"]);
    command.args(["-display", "none", "-no-reboot"]);
    match rung.accelerator {
        Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
        // Both by one thread in turn: with a thread for each, this emulation now and
        // then executes a breakpoint that the kernel, patching its own code, has
        // already taken back, and the kernel panics.
        Accelerator::Tcg => {
            command.args(["-accel", "tcg,thread=single", "-cpu", "qemu64"])
        }
    };
    command.arg("-kernel").arg(&rung.image);
    command.arg("-initrd").arg(&set.medium.initramfs);
    let mut line = kernel_line(set, rung.accelerator);
    if let Some(disk) = &set.medium.disk {
        let microvm = rung.machine.starts_with("microvm");
        let (bus, device) = if microvm {
            (BUSES[0], "virtio-blk-device,drive=usr")
        } else {
            (BUSES[1], "virtio-blk-pci,drive=usr")
        };
        // QEMU reads a comma as the end of the path, and two as one in it.
        let disk = disk.to_string_lossy().replace(',', ",,");
        let drive = "if=none,id=usr,format=raw,readonly=on";
        command.args(["-drive", &format!("{drive},file={disk}")]);
        command.args(["-device", device]);
        line += &format!(" {}{bus}", place::BUS);
    }
    for disk in &set.disks {
        attach(&mut command, rung, disk);
    }
    command.arg("-append").arg(line);
    // The first serial port is the console, the second the channel.
    let console = "file,id=console,path=/dev/fd/2";
    command.args(["-chardev", console, "-serial", "chardev:console"]);
    command.args(["-chardev", "stdio,id=channel,signal=off"]);
    command.args(["-device", "isa-serial,chardev=channel,index=1"]);
    let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1");
    command.args(["-device", &exit]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Attach a disk that is written to. The VM may flush it; what the host does with that
/// is of no matter.
///
/// # Source
/// qapi/block-core.json of QEMU, "BlockdevOptionsBlklogwrites"
fn attach(command: &mut Command, rung: &Rung, disk: &Disk) {
    let file = |node: &str, path: &Path| {
        let path = path.to_string_lossy().replace(',', ",,");
        format!("driver=file,node-name={node},filename={path},cache.no-flush=on")
    };
    let name = disk.name;
    match &disk.journal {
        None => {
            command.args(["-blockdev", &file(name, &disk.path)]);
        }
        Some(journal) => {
            command.args(["-blockdev", &file("data", &disk.path)]);
            command.args(["-blockdev", &file("log", journal)]);
            let filter = format!("driver=blklogwrites,node-name={name}");
            command.args(["-blockdev", &format!("{filter},file=data,log=log")]);
        }
    }
    let microvm = rung.machine.starts_with("microvm");
    let device = if microvm { "virtio-blk-device" } else { "virtio-blk-pci" };
    let device = format!("{device},drive={name},serial={name},write-cache=on");
    command.args(["-device", &device]);
}

/// The kernel's command line. What is switched off costs time at boot, and guards
/// against nothing in a machine that lives for seconds.
pub(super) fn kernel_line(set: &Set, accelerator: Accelerator) -> String {
    let mut line = "console=ttyS0 loglevel=2 panic=-1 oops=panic cryptomgr.notests \
                    init_on_alloc=0 mitigations=off no5lvl nowatchdog audit=0"
        .to_owned();
    // No VM wakes up from its disk.
    line += " noresume initcall_blacklist=";
    line += &SKIPPED.join(",");
    if accelerator == Accelerator::Tcg {
        // The guest reads the host's time stamp counter. Told how fast it is, the
        // kernel need not measure it by timers that the small machine lacks.
        line += " tsc=reliable";
        if let Some(khz) = host_khz() {
            line += &format!(" tsc_early_khz={khz} lpj={}", khz * 4);
        }
    }
    line += &format!(" {}{}", place::CGROUP, set.cgroup);
    if set.raw_root {
        line += &format!(" {}", place::RAW_ROOT);
    }
    line
}

fn host_khz() -> Option<u64> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
    let mhz: f64 = line.split_once(':')?.1.trim().parse().ok()?;
    Some((mhz * 1000.0) as u64)
}
