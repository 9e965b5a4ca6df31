//! The signals of this process, read from a signalfd.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::cli::step::Step;

/// The signals that the supervisor forwards, or that a watch of the poll loop
/// handles.
pub(crate) const CAUGHT: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// The signals of job control that stop a process. The kernel discards them for PID 1
/// of a namespace, so the supervisor stops the program (see [`stop_with`]).
///
/// # Source
/// pid_namespaces(7), "The namespace init process"
pub(crate) const STOPPING: [Signal; 3] =
    [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// The `si_code` of a signal that the kernel itself sent, as it does for Ctrl-C.
///
/// # Source
/// sigaction(2), "SI_KERNEL"
const SI_KERNEL: i32 = 0x80;

/// Blocked signals, which are read from a signalfd. When it is dropped, it restores
/// the old mask.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Block these signals and open the signalfd.
    ///
    /// # Errors
    /// sigprocmask(2) or signalfd(2) fails.
    pub fn catch(signals: impl IntoIterator<Item = Signal>) -> Result<Signals> {
        let caught = SigSet::from_iter(signals);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&caught), Some(&mut before))
            .look(|| "sigprocmask(2)")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&caught, flags).look(|| "signalfd(2)")?;
        Ok(Signals { fd, before })
    }

    /// The next pending signal, and whether the kernel sent it to the whole process
    /// group; `None` if no signal is pending.
    ///
    /// # Errors
    /// read(2) fails.
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

/// Whether this signal asks the program to end.
pub(crate) fn ends(signal: Signal) -> bool {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
}

/// Stop this process as the signal does by default, and return when it is continued.
/// The kernel does not stop a process whose group is orphaned: then this returns at
/// once.
///
/// # Errors
/// sigprocmask(2) or raise(3) fails.
/// # Source
/// setpgid(2), "orphaned process group"
pub(crate) fn stop_with(signal: Signal) -> Result<()> {
    let (only, mut before) = (SigSet::from_iter([signal]), SigSet::empty());
    raise(signal).look(|| format!("raise(3) {signal}"))?;
    // The signal is blocked and pending, so the process stops in this call.
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&only), Some(&mut before))
        .look(|| "sigprocmask(2)")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)
        .look(|| "sigprocmask(2)")
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

/// Let the kernel kill this process when its parent ends. The kernel clears this
/// setting at each change of credentials.
///
/// # Source
/// PR_SET_PDEATHSIG(2const)
pub(crate) fn die_with_parent() -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .step(|| "prctl(2) PR_SET_PDEATHSIG SIGKILL")
}
