//! The pipes that carry the program's output to the log and to the user.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use common::step::Step;
use common::{OutputRelay, ParentLink, Part, Plan, Running, StreamSource};
use nix::fcntl::OFlag;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2};

use crate::entry::Stream;
use crate::log::Log;

/// The part with two pipes, from which the supervisor reads the program's output.
/// The output goes to the log in the order of its arrival and, in the foreground,
/// also to the user.
#[derive(Debug)]
pub struct Logged {
    log: Log,
    detached: bool,
    pipes: Option<[(OwnedFd, OwnedFd); 2]>,
}

impl Logged {
    /// Create the part for this log. If `detached` is set, the output goes only to
    /// the log, and standard input is /dev/null.
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
        // A process that follows the log waits for the end of this process, which
        // writes it. So this process must be noted before the log exists.
        plan.home.note_supervisor()?;
        self.log.open(&plan.home)?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).step(|| "pipe2(2)");
        self.pipes = Some([pipe()?, pipe()?]);
        Ok(())
    }

    fn enter(&self, _plan: &Plan, link: &ParentLink) -> Result<()> {
        let [(_, out), (_, err)] = self.pipes.as_ref().context("no pipes")?;
        if self.detached {
            // The container's own /dev/null.
            let null = File::open("/dev/null").step(|| "open(2) /dev/null")?;
            dup2_stdin(&null).step(|| "dup2(2) to 0")?;
            link.seal().streams[0] = StreamSource::Container;
        }
        // A later part may replace these streams by a terminal.
        dup2_stdout(out).step(|| "dup2(2) to 1")?;
        dup2_stderr(err).step(|| "dup2(2) to 2")?;
        link.seal().streams[1..].fill(StreamSource::Made);
        Ok(())
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        // The write ends are closed here, so an end of file means that no process
        // can write any more.
        let [(out, _), (err, _)] = self.pipes.take().context("no pipes")?;
        let screens = [rustix::stdio::stdout(), rustix::stdio::stderr()];
        let streams = [(Stream::Out, out), (Stream::Err, err)];
        for ((stream, pipe), screen) in streams.into_iter().zip(screens) {
            let screen = (!self.detached).then_some(screen);
            let log = self.log.clone();
            let write = move |bytes: &[u8]| log.write(stream, bytes);
            running.watch(OutputRelay::new(pipe, screen, write)?);
        }
        Ok(())
    }
}
// ANCHOR_END: part
