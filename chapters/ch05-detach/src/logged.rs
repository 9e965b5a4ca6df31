//! What the program prints, on its way to the log and to the user.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use common::step::Step;
use common::{Part, Plan, Running, Up, Watch};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2, read, write};
use rustix::event::{PollFd, PollFlags, poll};

use crate::entry::Stream;
use crate::log::Log;

/// Two pipes, from which the host's side reads what the program prints: in the order
/// in which it comes, for the log, and in the foreground for the user too.
#[derive(Debug)]
pub struct Logged {
    log: Log,
    detached: bool,
    pipes: Option<[(OwnedFd, OwnedFd); 2]>,
}

impl Logged {
    /// Into this log. Detached, nobody is shown anything, and nobody types.
    #[must_use]
    pub fn new(log: Log, detached: bool) -> Logged {
        Logged { log, detached, pipes: None }
    }
}

// ANCHOR: part
impl Part for Logged {
    fn name(&self) -> &'static str {
        "log"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        // Who follows the log waits for the end of who writes it, so it is known who that
        // is from before there is a log.
        plan.home.note_host()?;
        self.log.open(&plan.home)?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).step(|| "pipe2(2)");
        self.pipes = Some([pipe()?, pipe()?]);
        Ok(())
    }

    fn enter(&self, _plan: &Plan, _up: &Up) -> Result<()> {
        let [(_, out), (_, err)] = self.pipes.as_ref().context("no pipes")?;
        if self.detached {
            // The guest's own.
            let null = File::open("/dev/null").step(|| "open(2) /dev/null")?;
            dup2_stdin(&null).step(|| "dup2(2) to 0")?;
        }
        // A part that comes later may put a terminal over them.
        dup2_stdout(out).step(|| "dup2(2) to 1")?;
        dup2_stderr(err).step(|| "dup2(2) to 2")?;
        Ok(())
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        // The other ends are closed here: from now on an end of file means that nobody
        // can print any more.
        let [(out, _), (err, _)] = self.pipes.take().context("no pipes")?;
        let taps = [
            Tap::new(Stream::Out, out, !self.detached)?,
            Tap::new(Stream::Err, err, !self.detached)?,
        ];
        running.watch(Taps { taps, log: self.log.clone() });
        Ok(())
    }
}
// ANCHOR_END: part

struct Taps {
    taps: [Tap; 2],
    log: Log,
}

/// One stream, and what the user has not been shown of it yet.
struct Tap {
    stream: Stream,
    /// Gone when nobody prints any more, or nobody looks.
    pipe: Option<OwnedFd>,
    pending: Vec<u8>,
    shown: bool,
}

/// What is read at once. For a screen it is no more than a pipe with any room takes
/// without waiting, and until that is shown no more is read: a program is no faster
/// than who looks.
///
/// # Source
/// pipe(7), "PIPE_BUF"
const CHUNK: usize = 4096;

impl Tap {
    fn new(stream: Stream, pipe: OwnedFd, shown: bool) -> Result<Tap> {
        // To see at the end whether there is any more.
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .step(|| "fcntl(2) O_NONBLOCK")?;
        Ok(Tap { stream, pipe: Some(pipe), pending: Vec::new(), shown })
    }

    fn screen(&self) -> BorrowedFd<'static> {
        match self.stream {
            Stream::Out => rustix::stdio::stdout(),
            Stream::Err => rustix::stdio::stderr(),
        }
    }

    /// The one descriptor that matters now.
    fn wants(&self) -> Option<PollFd<'_>> {
        if !self.pending.is_empty() {
            return Some(PollFd::from_borrowed_fd(self.screen(), PollFlags::OUT));
        }
        let pipe = self.pipe.as_ref()?;
        Some(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN))
    }

    /// False: there is no more for now.
    fn read(&mut self, log: &Log) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut bytes = [0; CHUNK];
        match read(pipe, &mut bytes) {
            Ok(0) => {
                self.pipe = None;
                false
            }
            Ok(count) => {
                log.write(self.stream, &bytes[..count]);
                if self.shown {
                    self.pending.extend_from_slice(&bytes[..count]);
                }
                true
            }
            Err(errno) => errno == Errno::EINTR,
        }
    }

    fn show(&mut self) {
        match write(self.screen(), &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Nobody looks any more. The program learns it as it would without us: the
            // next write is an EPIPE.
            Err(_) => {
                self.pending.clear();
                self.pipe = None;
            }
        }
    }
}

impl Watch for Taps {
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.taps.iter().filter_map(Tap::wants));
    }

    fn ready(&mut self, events: &[PollFlags]) -> Result<()> {
        let mut events = events.iter();
        for tap in &mut self.taps {
            let Some(shows) = tap.wants().map(|_| !tap.pending.is_empty()) else {
                continue;
            };
            match events.next() {
                Some(event) if event.is_empty() => {}
                Some(_) if shows => tap.show(),
                _ => drop(tap.read(&self.log)),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for tap in &mut self.taps {
            loop {
                while !tap.pending.is_empty() {
                    let screen =
                        PollFd::from_borrowed_fd(tap.screen(), PollFlags::OUT);
                    // Interrupted, it is asked again.
                    let _ = poll(&mut [screen], None);
                    tap.show();
                }
                if !tap.read(&self.log) {
                    break;
                }
            }
        }
        Ok(())
    }
}
