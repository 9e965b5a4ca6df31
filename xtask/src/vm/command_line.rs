//! The command lines of QEMU and of the kernel.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use vm_init::{EXIT_PORT, place};

use super::accelerator::Accelerator;
use super::boot_config::BootConfig;
use super::payload::BUSES;
use super::{Disk, Set};
use crate::bound;

/// The storage of a VM's memory.
pub(super) enum Memory<'a> {
    /// Memory of QEMU only.
    Own,
    /// This file, to which the VM writes.
    Filling(&'a Path),
    /// This file, of which the VM's changes stay private.
    From(&'a Path),
}

/// Init functions that the kernel skips. They take a tenth of the boot, and
/// containers do not use them. The kernel ignores a name that it does not have.
const SKIPPED: [&str; 11] = [
    // Thousands of files for tracing.
    "tracer_init_tracefs",
    // A self-test, keys for module signatures, and encrypted keys.
    "crypto_kdf108_init",
    "load_system_certificate_list",
    "init_encrypted",
    // Registering functions for BPF programs reads all of the kernel's types.
    "bpf_fs_kfuncs_init",
    "bpf_key_sig_kfuncs_init",
    "bpf_prog_test_run_init",
    "bpf_rstat_kfunc_init",
    "bpf_tcp_ca_kfunc_init",
    "cubictcp_register",
    "kfunc_init",
];

/// QEMU's command line.
pub(super) fn command(
    set: &Set,
    boot_config: &BootConfig,
    memory: &Memory,
) -> Result<Command> {
    let mut command = bound::command(&set.qemu.program);
    // Two processors, so that a test can restrict a container to one of them.
    let mut kind = boot_config.machine.to_owned();
    let size = format!("{}M", set.memory);
    let file = match memory {
        Memory::Own => None,
        Memory::Filling(path) => Some((path, "on")),
        Memory::From(path) => Some((path, "off")),
    };
    if let Some((path, share)) = file {
        let path = path.to_string_lossy().replace(',', ",,");
        let memory = format!("size={size},share={share},mem-path={path}");
        command.args(["-object", &format!("memory-backend-file,id=ram,{memory}")]);
        kind += ",memory-backend=ram";
    }
    command.args(["-M", &kind, "-m", &size, "-smp", "2"]);
    command.args(["-nodefaults", "-no-user-config"]);
    command.args(["-display", "none", "-no-reboot"]);
    command.args(processor(boot_config.accelerator));
    command.arg("-kernel").arg(&boot_config.image);
    command.arg("-initrd").arg(&set.medium.initramfs);
    let mut line = kernel_line(set, boot_config.accelerator);
    if let Some(disk) = &set.medium.disk {
        let microvm = boot_config.machine.starts_with("microvm");
        let (bus, device) = if microvm {
            (BUSES[0], "virtio-blk-device,drive=usr")
        } else {
            (BUSES[1], "virtio-blk-pci,drive=usr")
        };
        // In a path, QEMU reads two commas as one comma.
        let disk = disk.to_string_lossy().replace(',', ",,");
        let drive = "if=none,id=usr,format=raw,readonly=on";
        command.args(["-drive", &format!("{drive},file={disk}")]);
        command.args(["-device", device]);
        line += &format!(" {}{bus}", place::BUS);
    }
    for disk in &set.disks {
        attach(&mut command, boot_config, disk);
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

/// Attach a writable disk. The host ignores the VM's flushes.
///
/// # Source
/// qapi/block-core.json of QEMU, "BlockdevOptionsBlklogwrites"
fn attach(command: &mut Command, boot_config: &BootConfig, disk: &Disk) {
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
    let microvm = boot_config.machine.starts_with("microvm");
    let device = if microvm { "virtio-blk-device" } else { "virtio-blk-pci" };
    let device = format!("{device},drive={name},serial={name},write-cache=on");
    command.args(["-device", &device]);
}

/// The options that choose the processor.
pub(super) fn processor(accelerator: Accelerator) -> [&'static str; 4] {
    match accelerator {
        Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
        // One thread emulates both processors in turn. With a thread for each
        // processor, the emulation sometimes executes a breakpoint that the kernel
        // has already removed from its code, and the kernel panics. Without rdrand,
        // the first program that needs random bytes would wait for a second, until
        // the kernel has collected enough of them.
        Accelerator::Tcg => {
            ["-accel", "tcg,thread=single", "-cpu", "qemu64,+rdrand"]
        }
    }
}

/// The kernel's command line. It disables features that take time at boot and that
/// do not matter in a machine that runs for seconds.
pub(super) fn kernel_line(set: &Set, accelerator: Accelerator) -> String {
    let mut line = "console=ttyS0 loglevel=2 panic=-1 oops=panic cryptomgr.notests \
                    init_on_alloc=0 mitigations=off no5lvl nowatchdog audit=0"
        .to_owned();
    // No VM resumes from a disk.
    line += " noresume initcall_blacklist=";
    line += &SKIPPED.join(",");
    if accelerator == Accelerator::Tcg {
        // The guest reads the host's time stamp counter. The kernel gets its
        // frequency here, since the small machine has no timer to measure it.
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
