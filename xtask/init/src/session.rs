//! An interactive session: a shell, or one command.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use common::step::Step;
use nix::unistd::setsid;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vm_init::wire::{Frame, Stream, receive, send_bytes};
use vm_init::{Event, Order, Size, place};

use crate::command;
use crate::test::Running;

/// If this is the first argument, this program calls [`on_terminal`].
pub(crate) const ON_TERMINAL: &str = "on-terminal";

/// Run the command, relay its streams, and return how it ended.
pub(crate) fn run(
    words: &[OsString],
    terminal: Option<(OsString, Size)>,
    line: &mut File,
) -> Result<Event> {
    let state = Path::new(place::DEFAULT_STATE);
    if !state.join("images").exists() {
        copy_tree(Path::new(place::STATE), state)?;
    }
    let begun = Instant::now();
    let mut program = Program::start(words, terminal)?;
    loop {
        // Check the child's end first: its earlier output is still read below.
        let ended = program.running.ended()?;
        program.relay(line, ended.is_some())?;
        if let Some(how) = ended {
            let milliseconds = begun.elapsed().as_millis() as u64;
            let (skips, left) = (Vec::new(), Vec::new());
            return Ok(Event::Ended { ticket: 0, how, milliseconds, skips, left });
        }
    }
}

/// The program, and this process's ends of its streams.
struct Program {
    running: Running,
    /// The program's standard input, and the bytes that are not written to it yet.
    input: Option<File>,
    waiting: Vec<u8>,
    outputs: Vec<(Stream, File)>,
    is_terminal: bool,
}

impl Program {
    fn start(
        words: &[OsString],
        terminal: Option<(OsString, Size)>,
    ) -> Result<Program> {
        let (name, arguments) =
            words.split_first().context("no program was named")?;
        let is_terminal = terminal.is_some();
        let (mut input, mut outputs) = (None, Vec::new());
        let mut child = if let Some((term, size)) = terminal {
            let (master, slave) = pair(size)?;
            // A process must become a session leader before it can get a controlling
            // terminal, and it must make both system calls itself.
            let mut command = command(OsStr::new("/proc/self/exe"));
            command.arg(ON_TERMINAL).args(words).env("TERM", term);
            command.stdin(slave.try_clone()?).stdout(slave.try_clone()?);
            let child = command.stderr(slave).spawn();
            outputs.push((Stream::Output, master.try_clone()?));
            input = Some(master);
            child
        } else {
            let mut command = command(name);
            command.args(arguments).stdin(Stdio::piped());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        }
        .step(|| format!("execve(2) {}", name.display()))?;
        let running = Running::new(&child)?;
        if let Some(stdin) = child.stdin.take() {
            input = Some(File::from(OwnedFd::from(stdin)));
        }
        if let Some(out) = child.stdout.take() {
            outputs.push((Stream::Output, OwnedFd::from(out).into()));
        }
        if let Some(err) = child.stderr.take() {
            outputs.push((Stream::Error, OwnedFd::from(err).into()));
        }
        if let Some(input) = &input {
            // A program that does not read must not block the relay.
            let flags = fcntl_getfl(input).step(|| "fcntl(2) F_GETFL")?;
            fcntl_setfl(input, flags | OFlags::NONBLOCK)
                .step(|| "fcntl(2) F_SETFL")?;
        }
        let waiting = Vec::new();
        Ok(Program { running, input, waiting, outputs, is_terminal })
    }

    /// Wait until bytes can be copied, and copy them. After the program has `ended`,
    /// copy all remaining output.
    fn relay(&mut self, line: &mut File, ended: bool) -> Result<()> {
        loop {
            let (from_host, from_program) = self.wait(line, ended)?;
            for at in &from_program {
                let (stream, output) = &mut self.outputs[*at];
                let mut bytes = vec![0; 4096];
                let count = match output.read(&mut bytes) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                    // EIO: no process has the terminal open any more.
                    read => read.unwrap_or(0),
                };
                if count > 0 {
                    send_bytes(line, *stream, &bytes[..count])?;
                } else {
                    self.outputs.remove(*at);
                    // The indexes of the other outputs have changed: poll again.
                    break;
                }
            }
            if ended && from_program.is_empty() {
                return Ok(());
            }
            if from_host {
                self.handle_frame(line)?;
            }
            self.feed();
            if !ended {
                return Ok(());
            }
        }
    }

    fn wait(&self, line: &File, ended: bool) -> Result<(bool, Vec<usize>)> {
        // Read no more input until the pending bytes are written.
        let (from_line, to_input) = match self.waiting.is_empty() {
            true => (PollFlags::IN, PollFlags::empty()),
            false => (PollFlags::empty(), PollFlags::OUT),
        };
        let mut fds = vec![PollFd::new(line, from_line)];
        for (_, output) in &self.outputs {
            fds.push(PollFd::new(output, PollFlags::IN));
        }
        if let Some(input) = &self.input {
            fds.push(PollFd::new(input, to_input));
        }
        let limit = if ended { Duration::ZERO } else { Duration::MAX };
        let fds = self.running.poll(fds, limit)?;
        let ready = |fd: &PollFd| !fd.revents().is_empty();
        let outputs = 0..self.outputs.len();
        let ready_outputs = outputs.filter(|at| ready(&fds[1 + at])).collect();
        Ok((!ended && ready(&fds[0]), ready_outputs))
    }

    fn handle_frame(&mut self, line: &mut File) -> Result<()> {
        match receive(line).context("read the host's next frame")? {
            Some(Frame::Bytes(Stream::Input, bytes)) if !bytes.is_empty() => {
                self.waiting.extend(bytes);
            }
            // On a terminal the end of input is sent as a key.
            Some(Frame::Bytes(Stream::Input, _)) if !self.is_terminal => {
                self.input = None;
            }
            Some(Frame::Message(Order::Resize(size))) => {
                if let Some((_, master)) =
                    self.outputs.first().filter(|_| self.is_terminal)
                {
                    resize(master, size)?;
                }
            }
            Some(_) => {}
            None => bail!("the host has closed the channel"),
        }
        Ok(())
    }

    /// Write as many pending bytes as the program accepts.
    fn feed(&mut self) {
        let Some(input) = &mut self.input else { return self.waiting.clear() };
        while !self.waiting.is_empty() {
            match input.write(&self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // The program has closed its standard input.
                Err(_) => self.waiting.clear(),
            }
        }
    }
}

/// Create a pseudo-terminal, and return its two ends.
fn pair(size: Size) -> Result<(File, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).step(|| "posix_openpt(3)")?;
    grantpt(&master).step(|| "grantpt(3)")?;
    unlockpt(&master).step(|| "unlockpt(3)")?;
    let slave = ioctl_tiocgptpeer(&master, flags).step(|| "ioctl(2) TIOCGPTPEER")?;
    let master = File::from(master);
    resize(&master, size)?;
    Ok((master, slave))
}

fn resize(terminal: impl AsFd, size: Size) -> Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).step(|| "ioctl(2) TIOCSWINSZ")
}

/// Make the terminal on standard input the controlling terminal of a new session,
/// and execute the program. Returns only if this fails.
pub(crate) fn on_terminal(words: &[OsString]) -> Error {
    let execute = || -> Result<()> {
        let (name, arguments) =
            words.split_first().context("no program was named")?;
        setsid().step(|| "setsid(2)")?;
        let stdin = io::stdin();
        ioctl_tiocsctty(&stdin).step(|| "ioctl(2) TIOCSCTTY")?;
        let error = Command::new(name).args(arguments).exec();
        Err(error).step(|| format!("execve(2) {}", name.display()))
    };
    match execute() {
        Ok(()) => Error::msg("execve(2) returned"),
        Err(error) => error,
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).step(|| format!("mkdir(2) {}", to.display()))?;
    let entries =
        fs::read_dir(from).step(|| format!("readdir(3) {}", from.display()))?;
    for entry in entries.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&from, &to)?;
            fs::set_permissions(&to, from.metadata()?.permissions())?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else {
            fs::copy(&from, &to).step(|| format!("copy to {}", to.display()))?;
        }
    }
    Ok(())
}
