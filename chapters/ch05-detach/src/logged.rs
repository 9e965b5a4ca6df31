//! What the program prints, on its way to the log and to the user.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use common::step::Step;
use common::{OutputRelay, Part, Plan, Running, StreamSource, Up};
use nix::fcntl::OFlag;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2};

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

    fn enter(&self, _plan: &Plan, up: &Up) -> Result<()> {
        let [(_, out), (_, err)] = self.pipes.as_ref().context("no pipes")?;
        if self.detached {
            // The guest's own.
            let null = File::open("/dev/null").step(|| "open(2) /dev/null")?;
            dup2_stdin(&null).step(|| "dup2(2) to 0")?;
            up.seal().streams[0] = StreamSource::Container;
        }
        // A part that comes later may put a terminal over them.
        dup2_stdout(out).step(|| "dup2(2) to 1")?;
        dup2_stderr(err).step(|| "dup2(2) to 2")?;
        up.seal().streams[1..].fill(StreamSource::Made);
        Ok(())
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        // The other ends are closed here: from now on an end of file means that nobody
        // can print any more.
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
