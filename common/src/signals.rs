//! Signals of the host side, read from a descriptor like everything else.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::step::Step;
use crate::sys;

/// Those that are forwarded, or that somebody in the poll loop wants to hear of.
const CAUGHT: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Of a signal that the kernel itself sent, as a terminal does on Ctrl-C.
///
/// # Source
/// sigaction(2), "SI_KERNEL"
const SI_KERNEL: i32 = 0x80;

/// The caught signals, blocked and waiting in a descriptor. Dropped, it puts the
/// old mask back.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    pub(crate) fn catch() -> Result<Signals> {
        // A caller may ignore SIGCHLD, and exec keeps that; the kernel would then
        // reap the child before anybody learns how it ended.
        sys::default_signal(Signal::SIGCHLD);
        let caught = SigSet::from_iter(CAUGHT);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&caught), Some(&mut before))
            .look(|| "sigprocmask(2)")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&caught, flags).look(|| "signalfd(2)")?;
        Ok(Signals { fd, before })
    }

    /// The next one, and whether the kernel sent it to the whole process group.
    pub(crate) fn next(&self) -> Result<Option<(Signal, bool)>> {
        let Some(info) = self.fd.read_signal().look(|| "read(2) of signalfd")?
        else {
            return Ok(None);
        };
        let signal = Signal::try_from(info.ssi_signo as i32)
            .look(|| "read(2) of signalfd")?;
        Ok(Some((signal, info.ssi_code == SI_KERNEL)))
    }

    /// Whether this signal asks for an end.
    pub(crate) fn ends(&self, signal: Signal) -> bool {
        use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}
