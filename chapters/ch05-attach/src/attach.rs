//! `attach`: back to a container in the background.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Result, bail};
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

/// Go back to a container in the background
#[derive(Args, Debug)]
pub struct Attach {
    /// The keys that leave it running: letters, or ctrl- and a letter, with commas
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: Keys,

    /// Look on only: nothing that is typed gets to the program
    #[arg(long)]
    no_stdin: bool,

    /// Without a terminal of its own, signals of this process go to the program
    ///
    /// SIGINT, as by Ctrl-C, SIGQUIT, SIGTERM, SIGUSR1 and SIGUSR2.
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

    /// Its name, its id, or what only its id begins with
    container: String,
}

/// How a visit is over.
enum Over {
    /// By the keys.
    Left,
    /// By a signal, or a terminal that went away.
    Sent(Signal),
    /// The container's host side has ended.
    Ended,
    /// Nobody looks any more.
    Away,
}

impl Act for Attach {
    /// Show what the program prints and hand it what is typed, until it ends, with its
    /// exit status; or until the detach keys are typed.
    fn act(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        let record = Record::find(state, &self.container)?;
        let target = Target::find(state, record.id.as_str())?;
        let home = record.home(state);
        if target.process()?.is_none() {
            return Err(not_running(state, &record));
        }
        // It is followed from before anything is typed.
        let reached = Follow::from_now(&home)
            .and_then(|follow| Ok((follow, Ends::of(&home, &self.container)?)));
        let (follow, ends) = match reached {
            Ok((follow, Some(ends))) => (follow, ends),
            // Whatever went wrong then, this is why.
            Err(error) if target.process()?.is_some_and(|it| !it.has_ended()) => {
                return Err(error);
            }
            _ => return Err(not_running(state, &record)),
        };
        let over = Visit::new(&self, ends, follow)?.run(&target)?;
        let say = |text: &str| {
            // The cursor is where the program has left it.
            let line = format!("\n{text}: container {} goes on\n", self.container);
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

/// Somebody who is attached.
struct Visit {
    // Dropped first: the terminal is the user's again before a signal may end all.
    _raw: Option<Raw>,
    ends: Ends,
    follow: Follow,
    signals: Signals,
    /// Whether signals are the program's.
    proxy: bool,
    /// Whether there may be more typed for the program.
    types: bool,
    /// Finds the keys, where they are looked for.
    typed: Option<Typed>,
    /// From standard input to the program.
    input: ByteCopy,
}

impl Visit {
    fn new(flags: &Attach, ends: Ends, follow: Follow) -> Result<Visit> {
        let types = ends.stdin && !flags.no_stdin;
        let at_terminal = io::stdin().is_terminal();
        if types && ends.tty && !at_terminal {
            bail!(
                "container {} has a terminal, and standard input is none: attach at a \
                 terminal, or look on with --no-stdin",
                flags.container
            );
        }
        let keys = (types && at_terminal).then(|| flags.detach_keys.clone());
        let proxy = flags.sig_proxy && !ends.tty;
        // Caught before the terminal is changed, so that none comes in between.
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
                    // It may have ended: then that is seen next.
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

    /// What came: a signal, news of the log, the end of the host side, the end of the
    /// screen, something typed or room for it at the program.
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

    /// What is typed.
    fn read(&mut self) -> Option<Over> {
        let (typed, mut left) = (&mut self.typed, false);
        let got = self.input.read_through(|bytes, pending| match typed {
            None => pending.extend_from_slice(bytes),
            Some(typed) => left = typed.feed(bytes, pending),
        });
        match got {
            Got::Bytes | Got::Nothing => {}
            // The terminal was hung up.
            _ if self.ends.tty => return Some(Over::Sent(Signal::SIGHUP)),
            // The end of a file is not the end of the program's: another may attach.
            _ => self.types = false,
        }
        if left {
            // What was typed before the keys is still the program's.
            self.hand_on();
            return Some(Over::Left);
        }
        None
    }

    fn hand_on(&mut self) {
        if !self.input.write() {
            // It reads no more.
            self.types = self.ends.tty;
        }
    }

    /// Let the program's terminal be as large as this one. To redraw, the program is told
    /// of a size in any case: what was on the screen before can come from nobody else.
    ///
    /// # Source
    /// ioctl_tty(2), "TIOCSWINSZ": SIGWINCH comes of a change only
    fn resize(&self, redraw: bool) {
        let Some(program) = self.terminal() else { return };
        let Ok(mut size) = tcgetwinsize(io::stdin()) else { return };
        if redraw && tcgetwinsize(program).is_ok_and(|now| now == size) {
            // Hardly anybody counts pixels.
            size.ws_xpixel ^= 1;
        }
        let _ = tcsetwinsize(program, size);
    }

    fn terminal(&self) -> Option<&OwnedFd> {
        self.ends.program.as_ref().filter(|_| self.ends.tty)
    }
}

/// All that somebody sends, or only those that tell about the terminal.
fn caught(all: bool) -> impl Iterator<Item = Signal> {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    let sent = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    sent.into_iter().filter(move |_| all).chain([SIGWINCH])
}
