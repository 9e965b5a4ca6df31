//! `attach`: connect this terminal to a detached container.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, Result, bail};
use ch03_run::Raw;
use ch05_exec::not_running;
use ch05_logs::Follow;
use ch05_stop::{Target, wait};
use clap::{ArgAction, Args};
use common::cli::{Act, Context};
use common::state::Record;
use common::step::Step;
use common::{ByteCopy, Exit, Got, Signals, poll};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags};
use rustix::termios::{tcgetwinsize, tcsetwinsize};

use crate::attachable::Ends;
use crate::keys::{Keys, Typed};

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
enum Over {
    /// The detach keys were typed.
    Left,
    /// This process got a signal, or its terminal was closed.
    Sent(Signal),
    /// The container's supervisor has ended.
    Ended,
    /// Standard output was closed.
    Away,
}

impl Act for Attach {
    /// Show the program's output and send it the user's input, until the program
    /// ends or the detach keys are typed. Returns the program's exit status, or 0
    /// after the detach keys.
    fn act(self, context: &Context) -> Result<Exit> {
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
        let reached = Follow::from_now(&home)
            .and_then(|follow| Ok((follow, Ends::of(&home, &self.container)?)));
        let (follow, ends) = match reached {
            Ok((follow, Some(ends))) => (follow, ends),
            // If the container has ended in the meantime, this is the cause of any
            // other error.
            Err(error) if target.process()?.is_some_and(|it| !it.has_ended()) => {
                return Err(error);
            }
            _ => return Err(not_running(state, &record)),
        };
        let over = Visit::new(&self, ends, follow)?.run(&target)?;
        let say = |text: &str| {
            // Begin with a newline: the cursor is where the program left it.
            let line =
                format!("\n{text}: container {} keeps running\n", self.container);
            let _ = io::stderr().write_all(line.as_bytes());
        };
        match over {
            Over::Left => {
                say("detached");
                Ok(Exit::Code(0))
            }
            Over::Sent(signal) => {
                say(signal.as_str());
                Ok(Exit::Signal(signal))
            }
            Over::Ended => Ok(Exit::Code(wait(target, state)?.into())),
            Over::Away => Ok(Exit::Code(0)),
        }
    }
}

/// An attached client.
struct Visit {
    // Dropped first: the terminal's mode is restored before the signals are
    // unblocked, one of which may end this process.
    _raw: Option<Raw>,
    ends: Ends,
    follow: Follow,
    signals: Signals,
    /// Whether signals are forwarded to the program.
    proxy: bool,
    /// Whether more input for the program may come.
    types: bool,
    /// Searches the input for the detach keys. `None` if there is no terminal or no
    /// input.
    typed: Option<Typed>,
    /// Copies standard input to the program.
    input: ByteCopy,
}

impl Visit {
    fn new(flags: &Attach, ends: Ends, follow: Follow) -> Result<Visit> {
        let types = ends.stdin && !flags.no_stdin;
        let at_terminal = io::stdin().is_terminal();
        if types && ends.tty && !at_terminal {
            bail!(
                "container {} has a terminal, but standard input is not a terminal: \
                 attach from a terminal, or use --no-stdin",
                flags.container
            );
        }
        let keys = (types && at_terminal).then(|| flags.detach_keys.clone());
        let proxy = flags.sig_proxy && !ends.tty;
        // Catch the signals before the terminal is changed, so that no signal ends
        // this process between the two steps.
        let signals = Signals::catch(caught(proxy || ends.tty))?;
        let raw = if types && ends.tty { Some(Raw::new()?) } else { None };
        let typed = keys.map(Typed::new);
        let program = ends.program.as_ref().map(OwnedFd::try_clone).transpose();
        let program = program.look(|| "fcntl(2) F_DUPFD")?;
        let program = program.map(|program| Box::new(program) as Box<dyn AsFd>);
        let input = ByteCopy::new(rustix::stdio::stdin(), program);
        let visit =
            Visit { ends, follow, signals, proxy, types, typed, input, _raw: raw };
        visit.resize(true);
        Ok(visit)
    }

    // ANCHOR: run
    fn run(mut self, target: &Target) -> Result<Over> {
        loop {
            if !self.follow.more()? {
                let over = self.follow.is_over();
                return Ok(if over { Over::Ended } else { Over::Away });
            }
            let [signal, news, host, screen, input] = self.wait()?;
            if !self.follow.seen([news, host, screen]) {
                return Ok(Over::Away);
            }
            if !signal.is_empty()
                && let Some((signal, _)) = self.signals.next()?
            {
                match signal {
                    Signal::SIGWINCH => self.resize(false),
                    Signal::SIGHUP => return Ok(Over::Sent(signal)),
                    // If the program has ended, the next iteration notices it.
                    signal if self.proxy => drop(target.send(signal)?),
                    signal => return Ok(Over::Sent(signal)),
                }
            }
            if input.is_empty() {
                continue;
            }
            if self.input.is_pending() {
                self.hand_on();
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
        if self.types || self.input.is_pending() {
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
    fn read(&mut self) -> Option<Over> {
        let (typed, mut left) = (&mut self.typed, false);
        let got = self.input.read_through(|bytes, pending| match typed {
            None => pending.extend_from_slice(bytes),
            Some(typed) => left = typed.feed(bytes, pending),
        });
        match got {
            Got::Bytes | Got::Nothing => {}
            // The user's terminal was closed.
            _ if self.ends.tty => return Some(Over::Sent(Signal::SIGHUP)),
            // The end of this input does not close the program's input: another
            // client may attach.
            _ => self.types = false,
        }
        if left {
            // Input before the detach keys still goes to the program.
            self.hand_on();
            return Some(Over::Left);
        }
        None
    }

    fn hand_on(&mut self) {
        if !self.input.write() {
            // The program has closed its input.
            self.types = self.ends.tty;
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
        self.ends.program.as_ref().filter(|_| self.ends.tty)
    }
}

/// The signals to catch: all that another process may send, or only SIGWINCH.
fn caught(all: bool) -> impl Iterator<Item = Signal> {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    let sent = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    sent.into_iter().filter(move |_| all).chain([SIGWINCH])
}
