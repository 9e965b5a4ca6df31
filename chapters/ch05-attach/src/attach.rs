//! `attach`: connect this terminal to a detached container.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, Result, bail};
use ch03_run::RawMode;
use ch05_exec::not_running;
use ch05_logs::Follow;
use ch05_stop::{Target, wait};
use clap::{ArgAction, Args};
use common::cli::{Context, Execute};
use common::state::Record;
use common::step::{self, Step};
use common::{ByteCopy, Exit, ReadResult, Signals, poll};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags};
use rustix::termios::{tcgetwinsize, tcsetwinsize};

use crate::attachable::Attachment;
use crate::keys::{KeyMatcher, Keys};

/// Attach to a detached container
#[derive(Args, Debug)]
pub struct Attach {
    /// Detach keys, separated by commas: letters, or ctrl- and a letter
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: Keys,

    /// Only show output; send no input to the program
    #[arg(long)]
    no_stdin: bool,

    /// Forward signals to the program if it has no terminal
    ///
    /// These are SIGINT (Ctrl-C), SIGQUIT, SIGTERM, SIGUSR1 and SIGUSR2.
    #[arg(
        long,
        value_name = "BOOL",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    sig_proxy: bool,

    /// Name, ID, or unique ID prefix of the container
    container: String,
}

/// The reason why attach returns.
enum AttachEnd {
    /// The detach keys were typed.
    Detached,
    /// This process got a signal, or its terminal was closed.
    Signal(Signal),
    /// The container's supervisor has ended.
    Ended,
    /// Standard output was closed.
    OutputClosed,
}

impl Execute for Attach {
    /// Show the program's output and send it the user's input, until the program
    /// ends or the detach keys are typed. Returns the program's exit status, or 0
    /// after the detach keys.
    fn execute(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        let target = Target::find(state, &self.container)?;
        let removed = || {
            format!("container {} is not running: it was removed", self.container)
        };
        let record = Record::read(state, &target.home.id)?.with_context(removed)?;
        let home = record.home(state);
        if target.process()?.is_none() {
            return Err(not_running(state, &record));
        }
        // Start to follow the log before any input is sent, so that no output is
        // missed.
        let reached = Follow::from_now(&home).and_then(|follow| {
            Ok((follow, Attachment::of(&home, &self.container)?))
        });
        let (follow, attachment) = match reached {
            Ok((follow, Some(attachment))) => (follow, attachment),
            // If the container has ended in the meantime, this is the cause of any
            // other error.
            Err(error) if target.process()?.is_some_and(|it| !it.has_ended()) => {
                return Err(error);
            }
            _ => return Err(not_running(state, &record)),
        };
        let over = AttachedClient::new(&self, attachment, follow)?.run(&target)?;
        let say = |text: &str| {
            // Begin with a newline: the cursor is where the program left it.
            step::note(&format!(
                "\n{text}: container {} keeps running",
                self.container
            ));
        };
        match over {
            AttachEnd::Detached => {
                say("detached");
                Ok(Exit::Code(0))
            }
            AttachEnd::Signal(signal) => {
                say(signal.as_str());
                Ok(Exit::Signal(signal))
            }
            AttachEnd::Ended => Ok(Exit::Code(wait(target, state)?.into())),
            AttachEnd::OutputClosed => Ok(Exit::Code(0)),
        }
    }
}

/// An attached client.
struct AttachedClient {
    // Dropped first: the terminal's mode is restored before the signals are
    // unblocked, one of which may end this process.
    _raw: Option<RawMode>,
    attachment: Attachment,
    follow: Follow,
    signals: Signals,
    /// Whether signals are forwarded to the program.
    proxy: bool,
    /// Whether more input for the program may come.
    input_open: bool,
    /// Searches the input for the detach keys. `None` if there is no terminal or no
    /// input.
    typed: Option<KeyMatcher>,
    /// Copies standard input to the program.
    input: ByteCopy,
}

impl AttachedClient {
    fn new(
        flags: &Attach,
        attachment: Attachment,
        follow: Follow,
    ) -> Result<AttachedClient> {
        let input_open = attachment.stdin && !flags.no_stdin;
        let at_terminal = io::stdin().is_terminal();
        if input_open && attachment.tty && !at_terminal {
            bail!(
                "container {} has a terminal, but standard input is not a terminal: \
                 attach from a terminal, or use --no-stdin",
                flags.container
            );
        }
        let keys = (input_open && at_terminal).then(|| flags.detach_keys.clone());
        let proxy = flags.sig_proxy && !attachment.tty;
        // Catch the signals before the terminal is changed, so that no signal ends
        // this process between the two steps.
        let signals = Signals::catch(caught(proxy || attachment.tty))?;
        let raw =
            if input_open && attachment.tty { Some(RawMode::new()?) } else { None };
        let typed = keys.map(KeyMatcher::new);
        let program =
            attachment.program.as_ref().map(OwnedFd::try_clone).transpose();
        let program = program.untraced(|| "fcntl(2) F_DUPFD")?;
        let program = program.map(|program| Box::new(program) as Box<dyn AsFd>);
        let input = ByteCopy::new(rustix::stdio::stdin(), program);
        let visit = AttachedClient {
            attachment,
            follow,
            signals,
            proxy,
            input_open,
            typed,
            input,
            _raw: raw,
        };
        visit.resize(true);
        Ok(visit)
    }

    // ANCHOR: run
    fn run(mut self, target: &Target) -> Result<AttachEnd> {
        loop {
            if !self.follow.more()? {
                let over = self.follow.is_over();
                return Ok(if over {
                    AttachEnd::Ended
                } else {
                    AttachEnd::OutputClosed
                });
            }
            let [signal, news, host, screen, input] = self.wait()?;
            if !self.follow.seen([news, host, screen]) {
                return Ok(AttachEnd::OutputClosed);
            }
            if !signal.is_empty()
                && let Some((signal, _)) = self.signals.next()?
            {
                match signal {
                    Signal::SIGWINCH => self.resize(false),
                    Signal::SIGHUP => return Ok(AttachEnd::Signal(signal)),
                    // If the program has ended, the next iteration notices it.
                    signal if self.proxy => drop(target.send(signal)?),
                    signal => return Ok(AttachEnd::Signal(signal)),
                }
            }
            if input.is_empty() {
                continue;
            }
            if self.input.is_pending() {
                self.write_input();
            } else if let Some(over) = self.read() {
                return Ok(over);
            }
        }
    }
    // ANCHOR_END: run

    /// Wait for an event: a signal, new log entries, the end of the supervisor, the
    /// end of standard output, or input (or, while input is pending, room for it in
    /// the program's terminal or pipe).
    fn wait(&self) -> Result<[PollFlags; 5]> {
        let [news, host, screen] = self.follow.wants();
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        fds.extend([news, host, screen]);
        if self.input_open || self.input.is_pending() {
            fds.extend(self.input.wants());
        }
        poll(&mut fds, None)?;
        let mut events = [PollFlags::empty(); 5];
        for (event, fd) in events.iter_mut().zip(&fds) {
            *event = fd.revents();
        }
        Ok(events)
    }

    /// Read input. Returns a reason if attach must return.
    fn read(&mut self) -> Option<AttachEnd> {
        let (typed, mut left) = (&mut self.typed, false);
        let got = self.input.read_through(|bytes, pending| match typed {
            None => pending.extend_from_slice(bytes),
            Some(typed) => left = typed.feed(bytes, pending),
        });
        match got {
            ReadResult::Bytes | ReadResult::Nothing => {}
            // The user's terminal was closed.
            _ if self.attachment.tty => {
                return Some(AttachEnd::Signal(Signal::SIGHUP));
            }
            // The end of this input does not close the program's input: another
            // client may attach.
            _ => self.input_open = false,
        }
        if left {
            // Input before the detach keys still goes to the program.
            self.write_input();
            return Some(AttachEnd::Detached);
        }
        None
    }

    fn write_input(&mut self) {
        if !self.input.write() {
            // The program has closed its input.
            self.input_open = self.attachment.tty;
        }
    }

    /// Give the program's terminal the size of this one. With `redraw`, the program
    /// must get SIGWINCH even if the size is equal: only the program can draw the
    /// earlier content of the screen again.
    ///
    /// # Source
    /// ioctl_tty(2), "TIOCSWINSZ": only a change causes SIGWINCH
    fn resize(&self, redraw: bool) {
        let Some(program) = self.terminal() else { return };
        let Ok(mut size) = tcgetwinsize(io::stdin()) else { return };
        if redraw && tcgetwinsize(program).is_ok_and(|now| now == size) {
            // Change the width in pixels, which almost no program uses.
            size.ws_xpixel ^= 1;
        }
        let _ = tcsetwinsize(program, size);
    }

    fn terminal(&self) -> Option<&OwnedFd> {
        self.attachment.program.as_ref().filter(|_| self.attachment.tty)
    }
}

/// The signals to catch: all that another process may send, or only SIGWINCH.
fn caught(all: bool) -> impl Iterator<Item = Signal> {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    let sent = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    sent.into_iter().filter(move |_| all).chain([SIGWINCH])
}
