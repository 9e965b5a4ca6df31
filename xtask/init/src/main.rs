//! PID 1 of the test VM: it sets up the machine, then executes the host's orders,
//! one after the other.

mod session;
mod setup;
mod test;

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use common::step::{Step, report};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::{SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr};
use nix::unistd::chdir;
use vm_init::wire::{Frame, receive, send};
use vm_init::{Event, Order, place};

/// The complete environment of all children.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("USER", "root"),
];

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    if let Some((verb, words)) = words.split_first()
        && verb == session::ON_TERMINAL
    {
        let error = session::on_terminal(words);
        eprintln!("error: {}", report(&error));
        return ExitCode::from(127);
    }
    if std::process::id() != 1 {
        eprintln!("error: this program must be PID 1 of the test VM");
        return ExitCode::FAILURE;
    }
    // It returns only an error. The console shows it, and QEMU's exit status is not
    // the agreed one.
    let Err(error) = serve();
    eprintln!("init: {}", report(&error));
    let Err(errno) = reboot(RebootMode::RB_POWER_OFF);
    eprintln!("init: reboot(2): {errno}");
    ExitCode::FAILURE
}

enum Never {}

fn serve() -> Result<Never> {
    let ready = setup::machine()?;
    // All children inherit this directory: setting it per child would need fork(2).
    chdir("/root").step(|| "chdir(2) /root")?;
    let mut line = open_channel()?;
    send(&mut line, &ready).context("report that the VM is ready")?;
    let mut tests = 0;
    loop {
        let order = match receive(&mut line).context("wait for an order")? {
            Some(Frame::Message(order)) => order,
            // Input that was typed when the session had just ended.
            Some(Frame::Bytes(..)) => continue,
            None => bail!("the host has closed the channel"),
        };
        let answer = match order {
            Order::Begin { seconds, nanoseconds } => {
                setup::begin(seconds, nanoseconds).map(|()| Event::Begun)
            }
            Order::Test(test) => {
                tests += 1;
                test::run(&test, &mut line)
            }
            Order::Session { words, terminal } => {
                session::run(&words, terminal, &mut line)
            }
            Order::Resize(_) => continue,
            Order::Finish => {
                send(&mut line, &Event::Finished { tests })?;
                // Pending output would be lost.
                tcdrain(&line).step(|| "tcdrain(3)")?;
                return verdict();
            }
        };
        let event =
            answer.unwrap_or_else(|error| Event::Refused { error: report(&error) });
        send(&mut line, &event).context("answer")?;
    }
}

/// The serial line to the host, in raw mode: all bytes are passed unchanged.
fn open_channel() -> Result<File> {
    let path = place::CHANNEL;
    let line = File::options()
        .read(true)
        .write(true)
        .open(path)
        .step(|| format!("open(2) {path}"))?;
    let mut modes = tcgetattr(&line).step(|| "tcgetattr(3)")?;
    cfmakeraw(&mut modes);
    tcsetattr(&line, SetArg::TCSANOW, &modes).step(|| "tcsetattr(3)")?;
    Ok(line)
}

/// End QEMU with the agreed exit status.
#[cfg(target_arch = "x86_64")]
fn verdict() -> Result<Never> {
    // Flush the console's last lines first.
    if let Ok(console) = File::options().write(true).open(place::CONSOLE) {
        let _ = tcdrain(&console);
    }
    common::write_port(vm_init::EXIT_PORT, vm_init::VERDICT).step(|| "ioperm(2)")?;
    bail!("QEMU has no isa-debug-exit")
}

#[cfg(not(target_arch = "x86_64"))]
fn verdict() -> Result<Never> {
    bail!("this architecture has no isa-debug-exit device")
}

/// A command with the VM's environment.
fn command(program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(ENVIRONMENT);
    command
}
