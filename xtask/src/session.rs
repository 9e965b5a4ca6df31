//! `cargo xtask shell` and `cargo xtask run`: interactive sessions in the VM.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use rustix::termios::tcgetwinsize;
use vm_init::wire::Stream;
use vm_init::{Event, How, Order, Size};

use crate::build::{build, build_one};
use crate::checkout::expect_chapter;
use crate::mutex::lock;
use crate::progress::Progress;
use crate::set;
use crate::vm::accelerator::Choice;
use crate::vm::machine::{Line, Machine, Word};
use crate::vm::tree::Tree;
use crate::vm::{Cgroup, qemu, say};

/// The options that choose a VM.
#[derive(Args)]
struct VmArgs {
    /// The VM's kernel: a series such as 6.1, or the path of a vmlinux or bzImage
    #[arg(long, value_name = "6.1|6.12|PATH", default_value = "6.1")]
    kernel: String,

    /// The VM's cgroup layout
    #[arg(long, default_value = "v2")]
    cgroup: Cgroup,

    /// Accelerator of the VM
    #[arg(long, default_value = "auto")]
    accel: Choice,

    /// Keep the initramfs as root filesystem, where pivot_root(2) fails
    #[arg(long, hide = true)]
    raw_root: bool,
}

#[derive(Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    which: VmArgs,

    /// Show the help of this chapter first
    chapter: Option<String>,
}

#[derive(Args)]
#[command(after_help = "\
Options of the program follow its name:
  cargo xtask run ch04-volume -- run -ti -v /tmp/v:/test sh
A directory after -v is one of the VM: it has no files of this machine.")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    which: VmArgs,

    /// Chapter, such as ch04-volume, or any program of the VM
    program: OsString,

    /// Arguments of the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn shell(args: ShellArgs) -> Result<ExitCode> {
    let mut words = vec![OsString::from("sh"), "-l".into()];
    if let Some(chapter) = &args.chapter {
        expect_chapter(chapter)?;
        let script = format!("{chapter} run --help; exec sh -l");
        words = vec!["sh".into(), "-c".into(), script.into()];
    }
    session(args.which, words, None)
}

pub(crate) fn run(args: RunArgs) -> Result<ExitCode> {
    let name = args.program.to_string_lossy().into_owned();
    let is_chapter =
        name == "mydocker" || name.starts_with("ch") && name.contains('-');
    if is_chapter {
        expect_chapter(&name)?;
    }
    let volume = |word: &&OsString| {
        ["-v", "-volume", "--volume"].iter().any(|it| *word == it)
    };
    if args.arguments.iter().any(|word| volume(&word)) {
        say(
            "-v takes a directory of the VM: the files of this machine are not in it",
        );
    }
    let mut words = vec![args.program.clone()];
    words.extend(args.arguments);
    session(args.which, words, is_chapter.then_some(&name))
}

/// Run the words in a VM that has this chapter, or all chapters.
fn session(
    which: VmArgs,
    words: Vec<OsString>,
    chapter: Option<&String>,
) -> Result<ExitCode> {
    let qemu = qemu::find()?;
    // A chapter alone is built in seconds, as `cargo run` builds it.
    let (built, more) = match chapter {
        Some(chapter) => {
            let built = build_one(chapter)?;
            let libraries = built.libraries()?;
            (built, libraries)
        }
        None => (build(&[])?, Tree::default()),
    };
    let watch = Watch::new()?;
    let accelerator = set::accelerator(which.accel, &qemu)?;
    let (kernel, cgroup) = (&which.kernel, which.cgroup);
    let mut set = set::make_with(&built, &qemu, kernel, cgroup, accelerator, more)?;
    set.raw_root = which.raw_root;
    let progress = Progress::start("booting the VM");
    let mut vm = set.boot()?;
    drop(progress);
    say(&set.describe());
    let how = attend(&mut vm, words, &watch, 0)?;
    Ok(ExitCode::from(match how {
        How::Code(code) => code as u8,
        How::Signal(signal) => 128 + signal as u8,
        How::TimedOut => bail!("a session has no time limit"),
    }))
}

/// Run the command in a VM, connected to this program's standard streams, then end
/// the VM. `tests` is the number of tests that the VM has run.
///
/// # Errors
/// The VM ends before the command.
pub(crate) fn attend(
    vm: &mut Machine,
    words: Vec<OsString>,
    watch: &Watch,
    tests: u32,
) -> Result<How> {
    let terminal = RawMode::terminal()?;
    let about = match &terminal {
        Some(_) => Some((env::var_os("TERM").unwrap_or("xterm".into()), size()?)),
        None => None,
    };
    vm.order(&Order::Session { words, terminal: about })?;
    let line = Arc::new(Mutex::new(vm.take_line()?));
    // This thread waits for keys, and ends with the process.
    let keys = Arc::clone(&line);
    thread::spawn(move || relay_keys(&keys));
    if let Some(raw) = &terminal {
        *lock(&watch.0) = Some((Arc::clone(&line), raw.before.clone()));
    }
    let how = relay_output(vm, |_| ())?;
    lock(&line).order(&Order::Finish)?;
    vm.shut_down(tests)?;
    drop(terminal);
    Ok(how)
}

/// Print the program's output until it ends. `on_output` also gets its standard
/// output.
///
/// # Errors
/// The VM ends before the program, or another process writes on the channel.
pub(crate) fn relay_output(
    vm: &mut Machine,
    mut on_output: impl FnMut(&[u8]),
) -> Result<How> {
    loop {
        match vm.next(Duration::from_secs(3600)) {
            Word::Bytes(Stream::Error, bytes) => {
                let mut stderr = io::stderr();
                stderr.write_all(&bytes).and_then(|()| stderr.flush())?;
            }
            Word::Bytes(_, bytes) => {
                on_output(&bytes);
                let mut stdout = io::stdout();
                stdout.write_all(&bytes).and_then(|()| stdout.flush())?;
            }
            Word::Event(Event::Ended { how, .. }) => return Ok(how),
            Word::Event(Event::Refused { error }) => bail!("in the VM: {error}"),
            Word::Silence => {}
            Word::Event(_) | Word::Noise(_) => {
                bail!("another process in the VM wrote on the channel to the host")
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
        // An empty read is the end of input, which is sent too.
        let sent = lock(line).input(&bytes[..count]);
        if sent.is_err() || count == 0 {
            return;
        }
    }
}

/// The VM that gets new window sizes, and the original modes of the terminal.
type Watched = Option<(Arc<Mutex<Line>>, Termios)>;

/// A thread that waits for the signals of an interactive session.
pub(crate) struct Watch(Arc<Mutex<Watched>>);

impl Watch {
    /// Block the signals and start the thread. Call this before any other thread is
    /// started: the kernel could deliver the signals to a thread that does not block
    /// them.
    ///
    /// # Errors
    /// pthread_sigmask(3) or signalfd(2) fails.
    pub(crate) fn new() -> Result<Watch> {
        use Signal::{SIGHUP, SIGTERM, SIGWINCH};
        let mask = SigSet::from_iter([SIGHUP, SIGTERM, SIGWINCH]);
        mask.thread_block().context("pthread_sigmask(3)")?;
        let signals = SignalFd::new(&mask).context("signalfd(2)")?;
        let watched = Arc::default();
        let shared = Arc::clone(&watched);
        // The thread ends with the process.
        thread::spawn(move || relay_signals(&signals, &shared));
        Ok(Watch(watched))
    }

    /// Like [`Watch::new`], for a command-line option that requires a terminal.
    ///
    /// # Errors
    /// Standard input or output is not a terminal; pthread_sigmask(3) or signalfd(2)
    /// fails.
    pub(crate) fn of_terminal(option: &str) -> Result<Watch> {
        ensure!(
            io::stdin().is_terminal() && io::stdout().is_terminal(),
            "{option} opens a shell, but standard input or output is not a terminal: \
             run it in a terminal, or without {option}"
        );
        Watch::new()
    }
}

/// Forward new window sizes. On SIGHUP or SIGTERM, restore the terminal and end this
/// process.
fn relay_signals(signals: &SignalFd, watched: &Mutex<Watched>) {
    while let Ok(Some(info)) = signals.read_signal() {
        if info.ssi_signo != Signal::SIGWINCH as u32 {
            break;
        }
        if let (Some((line, _)), Ok(size)) = (&*lock(watched), size()) {
            let _ = lock(line).order(&Order::Resize(size));
        }
    }
    if let Some((_, modes)) = &*lock(watched) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, modes);
    }
    std::process::abort();
}

/// The user's terminal in raw mode: each key goes to the VM unchanged, even Ctrl-C.
struct RawMode {
    before: Termios,
}

impl RawMode {
    /// `None` if standard input or output is not a terminal.
    fn terminal() -> Result<Option<RawMode>> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin()).context("tcgetattr(3)")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw).context("tcsetattr(3)")?;
        Ok(Some(RawMode { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

fn size() -> Result<Size> {
    let size = tcgetwinsize(io::stdin()).context("ioctl(2) TIOCGWINSZ")?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}
