//! `cargo xtask shell` and `cargo xtask run`: somebody in the VM.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use clap::Args;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::getppid;
use rustix::termios::tcgetwinsize;
use vm_init::wire::Stream;
use vm_init::{Event, How, Order, Size};

use crate::build::build;
use crate::set;
use crate::vm::accelerator::Choice;
use crate::vm::machine::{Line, Machine, Word};
use crate::vm::{Cgroup, qemu, say};

/// Which VM.
#[derive(Args)]
struct Which {
    /// The VM's kernel: a series such as 6.1, or the path of a vmlinux or bzImage
    #[arg(long, value_name = "6.1|6.12|PATH", default_value = "6.1")]
    kernel: String,

    /// The VM's cgroup layout
    #[arg(long, default_value = "v2")]
    cgroup: Cgroup,

    /// Who runs the VM's instructions
    #[arg(long, default_value = "auto")]
    accel: Choice,

    /// Stay on the initramfs as root file system, where pivot_root(2) fails
    #[arg(long, hide = true)]
    raw_root: bool,
}

#[derive(Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    which: Which,

    /// Show the manual of this chapter first
    chapter: Option<String>,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    which: Which,

    /// The chapter, ch04-volume for one, or any program of the VM
    program: OsString,

    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn shell(args: ShellArgs) -> Result<ExitCode> {
    let mut words = vec![OsString::from("sh"), "-l".into()];
    if let Some(chapter) = &args.chapter {
        let script = format!("{chapter} run --help; exec sh -l");
        words = vec!["sh".into(), "-c".into(), script.into()];
    }
    session(args.which, args.chapter.as_deref(), words)
}

pub(crate) fn run(args: RunArgs) -> Result<ExitCode> {
    let name = args.program.to_string_lossy().into_owned();
    let chapter = name.starts_with("ch").then_some(name.as_str());
    let mut words = vec![args.program.clone()];
    words.extend(args.arguments);
    session(args.which, chapter.filter(|name| name.contains('-')), words)
}

fn session(
    which: Which,
    chapter: Option<&str>,
    words: Vec<OsString>,
) -> Result<ExitCode> {
    let qemu = qemu::find()?;
    let built = build(None)?;
    if let Some(chapter) = chapter {
        let names: Vec<_> =
            built.chapters.iter().filter_map(|c| c.file_name()).collect();
        if !names.contains(&OsStr::new(chapter)) {
            let names: Vec<_> =
                names.iter().map(|name| name.to_string_lossy()).collect();
            bail!("there is no chapter {chapter}: there are {}", names.join(", "));
        }
    }
    // Blocked before there is a thread that they could be delivered to.
    let signals = Signals::block()?;
    let accelerator = set::accelerator(which.accel, &qemu)?;
    let mut set =
        set::make(&built, &qemu, &which.kernel, which.cgroup, accelerator)?;
    set.raw_root = which.raw_root;
    let mut vm = set.boot()?;
    say(&set.describe());
    let terminal = Raw::terminal()?;
    let about = match &terminal {
        Some(_) => Some((env::var_os("TERM").unwrap_or("xterm".into()), size()?)),
        None => None,
    };
    vm.order(&Order::Session { words, terminal: about })?;
    let line = Arc::new(Mutex::new(vm.take_line()?));
    // Both threads end with the process: one waits for a key, the other for a signal.
    let keys = Arc::clone(&line);
    thread::spawn(move || relay_keys(&keys));
    let restore = terminal.as_ref().map(|raw| raw.before.clone());
    let (resized, is_terminal) = (Arc::clone(&line), terminal.is_some());
    thread::spawn(move || {
        signals.relay(&resized, is_terminal);
        if let Some(modes) = restore {
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &modes);
        }
        std::process::abort();
    });
    let how = relay_output(&mut vm)?;
    lock(&line).order(&Order::Finish)?;
    vm.goodbye(0)?;
    drop(terminal);
    Ok(ExitCode::from(match how {
        How::Code(code) => code as u8,
        How::Signal(signal) => 128 + signal as u8,
        How::TimedOut => bail!("a session has no time limit"),
    }))
}

/// Print what the program prints, until it ends.
fn relay_output(vm: &mut Machine) -> Result<How> {
    loop {
        match vm.next(Duration::from_secs(3600)) {
            Word::Bytes(Stream::Error, bytes) => {
                let mut stderr = io::stderr();
                stderr.write_all(&bytes).and_then(|()| stderr.flush())?;
            }
            Word::Bytes(_, bytes) => {
                let mut stdout = io::stdout();
                stdout.write_all(&bytes).and_then(|()| stdout.flush())?;
            }
            Word::Event(Event::Ended { how, .. }) => return Ok(how),
            Word::Event(Event::Refused { error }) => bail!("in the VM: {error}"),
            Word::Silence => {}
            Word::Event(_) | Word::Noise(_) => {
                bail!("somebody in the VM writes on the channel to the host")
            }
            Word::Gone => {
                let status = vm.ended();
                let last = vm.last_lines(20);
                if vm.panicked() || !status.success() {
                    bail!("the VM has ended, {status}:\n{last}");
                }
                bail!("the VM was powered off");
            }
        }
    }
}

fn relay_keys(line: &Mutex<Line>) {
    let mut bytes = [0; 4096];
    loop {
        let count = match io::stdin().read(&mut bytes) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        // No bytes: the end of input, which is told too.
        let sent = lock(line).input(&bytes[..count]);
        if sent.is_err() || count == 0 {
            return;
        }
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals that matter to whoever sits at the terminal.
struct Signals(SignalFd);

impl Signals {
    fn block() -> Result<Signals> {
        use Signal::{SIGHUP, SIGTERM, SIGWINCH};
        let mask = SigSet::from_iter([SIGHUP, SIGTERM, SIGWINCH]);
        mask.thread_block().context("pthread_sigmask(3)")?;
        Ok(Signals(SignalFd::new(&mask).context("signalfd(2)")?))
    }

    /// Hand on new window sizes until a signal asks for an end.
    fn relay(&self, line: &Mutex<Line>, is_terminal: bool) {
        while let Ok(Some(info)) = self.0.read_signal() {
            if info.ssi_signo != Signal::SIGWINCH as u32 {
                return;
            }
            if is_terminal && let Ok(size) = size() {
                let _ = lock(line).order(&Order::Resize(size));
            }
        }
    }
}

/// The user's terminal in raw mode: each key goes to the VM as it is, Ctrl-C too.
struct Raw {
    before: Termios,
}

impl Raw {
    /// None when standard input or output is no terminal.
    fn terminal() -> Result<Option<Raw>> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin()).context("tcgetattr(3)")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw).context("tcsetattr(3)")?;
        Ok(Some(Raw { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

fn size() -> Result<Size> {
    let size = tcgetwinsize(io::stdin()).context("ioctl(2) TIOCGWINSZ")?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Become the program, in a process that dies with its parent. Only a failure comes
/// back.
pub(crate) fn held(
    parent: &OsStr,
    program: &OsStr,
    arguments: &[OsString],
) -> Error {
    let bound = || -> Result<()> {
        set_pdeathsig(Signal::SIGKILL).context("prctl(2) PR_SET_PDEATHSIG")?;
        // It may have died before.
        let is = getppid().to_string();
        ensure!(parent.to_str() == Some(&is), "the parent is gone");
        Ok(())
    };
    match bound() {
        Ok(()) => Command::new(program).args(arguments).exec().into(),
        Err(error) => error,
    }
}
