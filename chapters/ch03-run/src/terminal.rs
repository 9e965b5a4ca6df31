//! `-ti`: a pseudo-terminal for the container, and the relay between it and the
//! user's terminal.

use std::env;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyhow::Result;
use clap::Args;
use common::step::Step;
use common::{
    ByteCopy, Guard, ParentLink, Part, Plan, ReadResult, Root, Running, Session,
    StreamSource, Watch,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::termios::{
    InputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr,
};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use rustix::event::{PollFd, PollFlags};
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{tcgetwinsize, tcsetwinsize};

/// Flags of this part.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Allocate a terminal for the program, if standard input is a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Keep standard input open [in the foreground, it is always open]
    #[arg(short, long)]
    pub interactive: bool,
}

/// A pseudo-terminal for the container. Job control, window size and Ctrl-C apply to
/// the program. The program gets no file descriptor of the user's terminal.
///
/// # Source
/// pty(7), ioctl_tty(2), credentials(7) "Sessions"
pub struct Terminal {
    wanted: bool,
    copy: Option<Copy>,
}

/// A function that receives a copy of all output of the program.
type Copy = Box<dyn FnMut(&[u8])>;

impl Terminal {
    /// Create the part. The container gets a terminal if the flags request one and
    /// standard input is a terminal.
    #[must_use]
    pub fn new(flags: &Flags) -> Terminal {
        // If standard input is a pipe, `-ti` keeps the caller's streams.
        Terminal { wanted: flags.tty && io::stdin().is_terminal(), copy: None }
    }

    /// Also pass all output of the program to this function.
    #[must_use]
    pub fn copied_to(mut self, copy: impl FnMut(&[u8]) + 'static) -> Terminal {
        self.copy = Some(Box::new(copy));
        self
    }
}

// ANCHOR: part
impl Part for Terminal {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        if self.wanted {
            let term = env::var_os("TERM").unwrap_or_else(|| "xterm".into());
            plan.environment.insert("TERM".into(), term);
            plan.session = Session::Own;
        }
        Ok(())
    }

    fn enter(&self, plan: &Plan, link: &ParentLink) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        link.seal().streams = [StreamSource::Made; 3];
        link.send(own_terminal(plan, copy_terminal_modes)?)
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        if self.wanted {
            let relay = Relay::new(running.take(self.name())?, self.copy.take())?;
            running.watch(relay);
        }
        Ok(())
    }
}

/// In the child: create a pseudo-terminal for the container, make it the controlling
/// terminal of a new session, and connect the standard streams to it. Returns the
/// other end. `configure` may set modes and window size first.
///
/// # Errors
/// An errno of mount(2), open(2), ioctl(2), setsid(2) or dup2(2); any error of
/// `configure`.
pub fn own_terminal(
    plan: &Plan,
    configure: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<OwnedFd> {
    if plan.root == Root::Host {
        mount_devpts()?;
    }
    // Open the multiplexer of the container's own devpts instance, so that the pair
    // exists only in this container.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let ours = open("/dev/pts/ptmx", flags, Mode::empty())
        .step(|| "open(2) /dev/pts/ptmx")?;
    unlockpt(&ours).step(|| "ioctl(2) TIOCSPTLCK")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = ioctl_tiocgptpeer(&ours, flags).step(|| "ioctl(2) TIOCGPTPEER")?;
    configure(&theirs)?;
    // Only a session leader without a controlling terminal can get one, and the
    // terminal must not belong to another session.
    setsid().step(|| "setsid(2)")?;
    ioctl_tiocsctty(&theirs).step(|| "ioctl(2) TIOCSCTTY")?;
    dup2_stdin(&theirs).step(|| "dup2(2) to 0")?;
    dup2_stdout(&theirs).step(|| "dup2(2) to 1")?;
    dup2_stderr(&theirs).step(|| "dup2(2) to 2")?;
    Ok(ours)
}
// ANCHOR_END: part

/// Mount a new devpts instance over /dev/pts. This is necessary if the container
/// uses the host's root filesystem, because its /dev/pts belongs to the host.
///
/// # Source
/// Documentation/filesystems/devpts.rst
fn mount_devpts() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    mount(Some("devpts"), "/dev/pts", Some("devpts"), flags, Some(options))
        .step(|| format!("mount(2) devpts on /dev/pts {options}"))?;
    // /dev/ptmx needs no change: the kernel resolves it to the devpts instance that
    // is mounted at pts in the same directory.
    Ok(())
}

/// Copy the window size and the UTF-8 editing mode from the user's terminal.
fn copy_terminal_modes(theirs: &OwnedFd) -> Result<()> {
    let size = tcgetwinsize(io::stdin()).step(|| "ioctl(2) TIOCGWINSZ")?;
    tcsetwinsize(theirs, size).step(|| "ioctl(2) TIOCSWINSZ")?;
    let outer = tcgetattr(io::stdin()).step(|| "tcgetattr(3)")?;
    if outer.input_flags.contains(InputFlags::IUTF8) {
        let mut inner = tcgetattr(theirs).step(|| "tcgetattr(3)")?;
        inner.input_flags.insert(InputFlags::IUTF8);
        tcsetattr(theirs, SetArg::TCSANOW, &inner).step(|| "tcsetattr(3)")?;
    }
    Ok(())
}

/// The user's terminal in raw mode: each key goes to the program unchanged, even
/// Ctrl-C. Drop restores the old mode. If this process is killed, a guard process
/// restores it.
pub struct RawMode {
    before: Termios,
    _guard: Guard,
}

impl RawMode {
    /// Set raw mode.
    ///
    /// # Errors
    /// ENOTTY if standard input is not a terminal; the guard process cannot be
    /// created.
    pub fn new() -> Result<RawMode> {
        let before = tcgetattr(io::stdin()).step(|| "tcgetattr(3)")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // TCSADRAIN waits until all earlier output is transmitted, and keeps the
        // input that is already typed.
        let guard = Guard::after_death(|| {
            // Restore the mode only if it is still ours: a shell may have set its
            // own mode in the meantime.
            if tcgetattr(io::stdin()).is_ok_and(|now| same(&now, &raw)) {
                let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
            }
        })?;
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)
            .step(|| "tcsetattr(3) to raw")?;
        Ok(RawMode { before, _guard: guard })
    }
}

/// Whether two modes have the same input, output and local flags.
fn same(one: &Termios, other: &Termios) -> bool {
    one.input_flags == other.input_flags
        && one.output_flags == other.output_flags
        && one.local_flags == other.local_flags
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

/// Copies bytes between the user's terminal and the program's terminal.
struct Relay {
    /// The program's terminal; `None` after the user's terminal has hung up.
    program: Option<Rc<OwnedFd>>,
    /// From the user's keys to the program.
    typed: ByteCopy,
    /// From the program to the user's screen.
    printed: ByteCopy,
    /// Whether no process has the program's side open.
    silent: bool,
    copy: Option<Copy>,
    _raw: RawMode,
}

impl Relay {
    fn new(program: OwnedFd, copy: Option<Copy>) -> Result<Relay> {
        // A write must not block when the program does not read: the same loop also
        // copies the program's output and forwards signals.
        fcntl(&program, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))
            .step(|| "fcntl(2) O_NONBLOCK")?;
        let raw = RawMode::new()?;
        let program = Rc::new(program);
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        Ok(Relay {
            typed: ByteCopy::new(stdin, Some(Box::new(program.clone()))),
            printed: ByteCopy::new(program.clone(), Some(Box::new(stdout))),
            program: Some(program),
            silent: false,
            copy,
            _raw: raw,
        })
    }

    /// Close the program's terminal: the program's session gets SIGHUP. Output that
    /// was read already is still shown.
    fn hang_up(&mut self) {
        self.program = None;
        self.typed.close();
        self.printed.stop();
    }

    /// For each of the two copies, whether it must be polled now. After the
    /// program's side was closed, poll(2) would report POLLHUP continuously.
    fn waiting(&self) -> [bool; 2] {
        let printed = self.printed.is_pending() || !self.silent;
        [self.typed.wants().is_some(), printed && self.printed.wants().is_some()]
    }

    /// Read output of the program. Returns false if there is no more output at the
    /// moment.
    fn read_program(&mut self) -> bool {
        let copy = &mut self.copy;
        let got = self.printed.read(|bytes| {
            if let Some(copy) = copy {
                copy(bytes);
            }
        });
        // EIO: no process has the program's side open. A process may open
        // /dev/tty again, so this end stays open.
        self.silent |=
            matches!(got, ReadResult::End | ReadResult::Failed(Errno::EIO));
        got == ReadResult::Bytes
    }
}

impl Watch for Relay {
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let [typed, printed] = self.waiting();
        fds.extend(self.typed.wants().filter(|_| typed));
        fds.extend(self.printed.wants().filter(|_| printed));
    }

    fn ready(&mut self, events: &[PollFlags]) -> Result<()> {
        let mut events = events.iter();
        let [typed, printed] = self.waiting().map(|waits| {
            waits && events.next().is_some_and(|event| !event.is_empty())
        });
        if typed {
            if self.typed.is_pending() {
                self.typed.write();
            } else if let ReadResult::End | ReadResult::Failed(Errno::EIO) =
                self.typed.read(|_| {})
            {
                self.hang_up();
            }
        }
        if printed {
            if self.printed.is_pending() {
                // An error is ignored: the program continues even if the user's
                // terminal is gone.
                self.printed.write();
            } else {
                self.read_program();
            }
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGWINCH => {
                if let Some(program) = &self.program
                    && let Ok(size) = tcgetwinsize(io::stdin())
                {
                    // The kernel sends SIGWINCH to the program's foreground process
                    // group.
                    let _ = tcsetwinsize(program, size);
                }
            }
            // The user's terminal was closed, so close the program's terminal too.
            Signal::SIGHUP => self.hang_up(),
            _ => {}
        }
    }

    fn finish(&mut self) -> Result<()> {
        loop {
            self.printed.write_all()?;
            if !self.read_program() {
                return Ok(());
            }
        }
    }
}
