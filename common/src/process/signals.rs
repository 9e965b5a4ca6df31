//! Signals of this process, read from a descriptor like everything else.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::cli::step::Step;

/// Those that a host side forwards, or that somebody in its poll loop wants to hear of.
pub(crate) const CAUGHT: [Signal; 7] = [
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

/// Signals that are blocked and wait in a descriptor. Dropped, it puts the old mask
/// back.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Catch these from here on.
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub fn catch(signals: impl IntoIterator<Item = Signal>) -> Result<Signals> {
        let caught = SigSet::from_iter(signals);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&caught), Some(&mut before))
            .look(|| "sigprocmask(2)")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&caught, flags).look(|| "signalfd(2)")?;
        Ok(Signals { fd, before })
    }

    /// The next one, and whether the kernel sent it to the whole process group; `None`
    /// when no more has come.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn next(&self) -> Result<Option<(Signal, bool)>> {
        let Some(info) = self.fd.read_signal().look(|| "read(2) of signalfd")?
        else {
            return Ok(None);
        };
        let signal = Signal::try_from(info.ssi_signo as i32)
            .look(|| "read(2) of signalfd")?;
        Ok(Some((signal, info.ssi_code == SI_KERNEL)))
    }
}

/// Whether this signal asks for an end.
pub(crate) fn ends(signal: Signal) -> bool {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
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

/// Be killed when the parent ends. The kernel forgets this at each change of
/// credentials.
///
/// # Source
/// PR_SET_PDEATHSIG(2const)
pub(crate) fn die_with_parent() -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .step(|| "prctl(2) PR_SET_PDEATHSIG SIGKILL")
}
