//! Tests that misbehave, each in its own way. `xtask/tests/runner.rs` runs them in
//! the VM and checks the verdicts of the runner.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]
#![allow(clippy::exit, reason = "one of the tests exits early on purpose")]

use std::fs::{self, File};
use std::io::Write;
use std::process::{self, Command};
use std::thread::sleep;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use vm_init::wire::send;
use vm_init::{Event, How, place};

const LONG: Duration = Duration::from_secs(1000);

#[test]
fn behaves() {}

#[test]
fn skips_as_expected() {
    fs::write(std::env::var_os("MYDOCKER_SKIP_FILE").unwrap(), "as said\n").unwrap();
}

#[test]
fn skips_unexpectedly() {
    fs::write(std::env::var_os("MYDOCKER_SKIP_FILE").unwrap(), "lazy\n").unwrap();
}

#[test]
fn panics() {
    panic!("as it should");
}

#[test]
fn exits_early() {
    process::exit(0);
}

#[test]
fn aborts() {
    process::abort();
}

#[test]
fn hangs() {
    sleep(LONG);
}

#[test]
fn hangs_in_a_child_that_holds_its_output() {
    Command::new("sleep").arg("1000").spawn().unwrap().wait().unwrap();
}

#[test]
fn freezes_pid_1() {
    let group = "/sys/fs/cgroup/ice";
    fs::create_dir(group).unwrap();
    fs::write(format!("{group}/cgroup.procs"), "1").unwrap();
    fs::write(format!("{group}/cgroup.freeze"), "1").unwrap();
    sleep(LONG);
}

#[test]
fn powers_off() {
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    panic!("{error}");
}

#[test]
fn reboots() {
    let Err(error) = reboot(RebootMode::RB_AUTOBOOT);
    panic!("{error}");
}

#[test]
fn panics_the_kernel() {
    fs::write("/proc/sysrq-trigger", "c").unwrap();
    sleep(LONG);
}

#[test]
fn floods_the_console() {
    let mut console = File::options().write(true).open(place::CONSOLE).unwrap();
    (0..400).for_each(|_| console.write_all(&[b'x'; 1024]).unwrap());
}

#[test]
fn floods_its_output() {
    let mut out = File::options().append(true).open("/dev/stdout").unwrap();
    while out.write_all(&[b'x'; 1 << 20]).is_ok() {}
}

// ANCHOR: forges
/// Forge the messages of a passed test.
fn forged_messages(mut line: impl Write) {
    let how = How::Code(0);
    let (skips, left) = (Vec::new(), Vec::new());
    let ended = Event::Ended { ticket: 0, how, milliseconds: 1, skips, left };
    send(&mut line, &ended).unwrap();
    send(&mut line, &Event::Finished { tests: 1 }).unwrap();
}

#[test]
fn forges_the_last_message_on_the_console() {
    forged_messages(File::options().write(true).open(place::CONSOLE).unwrap());
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    panic!("{error}");
}

#[test]
fn forges_the_last_message_on_the_channel() {
    forged_messages(File::options().write(true).open(place::CHANNEL).unwrap());
}
// ANCHOR_END: forges

#[test]
fn ends_the_vm_with_the_agreed_exit_status() {
    common::write_port(vm_init::EXIT_PORT, vm_init::VERDICT).unwrap();
}

#[test]
fn leaks_a_mount() {
    fs::create_dir_all("/mnt/leak").unwrap();
    let none = None::<&str>;
    mount(none, "/mnt/leak", Some("tmpfs"), MsFlags::empty(), none).unwrap();
}

#[test]
fn leaks_a_process() {
    Command::new("sleep").arg("1000").spawn().unwrap();
}

/// Runs after the two tests above, and must not see their leftovers.
#[test]
fn sees_no_leak() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("/mnt/leak"), "{mounts}");
}
