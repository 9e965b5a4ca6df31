//! A detached container: which process is its supervisor, and what the caller learns.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, bail};
use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{Id as WaitId, WaitPidFlag, waitid};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::cli::step::{self, Step};
use crate::engine::container::Container;
use crate::process::channel::{Channel, Frame};
use crate::process::exit::{Exit, Failure, RUNTIME_ERROR, code_of};
use crate::process::sys::{self, Side};
use crate::state::Id;

impl Container {
    /// Run the container in the background. Another process becomes the container's
    /// *supervisor*: it creates the container, starts it and waits for it. This
    /// process learns only that the program runs, or why it does not.
    ///
    /// # Errors
    /// The errors of [`Container::create`] and [`start`](crate::Created::start),
    /// with their exit statuses. Everything is undone before the error is returned.
    // ANCHOR: detach
    pub fn detach(mut self) -> Result<Id> {
        self.plan.detached = true;
        let id = self.plan.home.id.clone();
        let (ours, theirs) = Channel::pair().untraced(|| "socketpair(2)")?;
        sys::assert_one_thread()?;
        let none = CloneFlags::empty();
        match sys::clone3(none, none, None)
            .untraced(|| "clone3(2) of the supervisor")?
        {
            Side::Child => {
                drop(ours);
                supervise(self, theirs)
            }
            Side::Parent(_, pidfd) => {
                drop(theirs);
                // `self` must not be dropped before the answer arrives. The
                // supervisor shares the locks of the parts, and dropping would
                // unlock them for both.
                answer(&ours, &pidfd).map(|()| id)
            }
        }
    }
    // ANCHOR_END: detach
}

/// The supervisor's whole life. It never returns into the caller's code, because the
/// caller's destructors must not run in this process.
fn supervise(container: Container, caller: Channel) -> ! {
    let caller: &'static Channel = Box::leak(Box::new(caller));
    let life = AssertUnwindSafe(|| live(container, caller));
    let error = match catch_unwind(life) {
        Ok(Ok(())) => sys::exit_now(0),
        Ok(Err(error)) => error,
        Err(_) => anyhow!("the supervisor panicked"),
    };
    // If the caller has ended, or if the program has run, no process receives this
    // frame. A later command finds the container and undoes the remaining parts.
    let (code, text) = (code_of(&error), step::report(&error));
    let _ = caller.send(&Frame::Refused { code, text });
    sys::exit_now(RUNTIME_ERROR)
}

// ANCHOR: live
fn live(container: Container, caller: &'static Channel) -> Result<()> {
    step::redirect_trace(|line| {
        // A dead caller is detected below.
        let _ = caller.send(&Frame::Step(line.to_owned()));
    });
    // If the caller dies before it receives the answer, the start ends as it does on
    // Ctrl-C.
    prctl::set_pdeathsig(Signal::SIGTERM)
        .untraced(|| "prctl(2) PR_SET_PDEATHSIG SIGTERM")?;
    // In a new session, Ctrl-C or a closed terminal does not signal the supervisor.
    setsid().untraced(|| "setsid(2)")?;
    umask(Mode::from_bits_truncate(0o022));
    sys::close_inherited()?;
    let created = container.create()?;
    let started = created.start_and(|| {
        release_caller()?;
        step::stop_trace();
        // The caller may end after it has received the answer. If it dies earlier,
        // its end of the channel is closed and it sends no reply. The start
        // therefore succeeds only after the reply.
        prctl::set_pdeathsig(None).untraced(|| "prctl(2) PR_SET_PDEATHSIG")?;
        caller.send(&Frame::Exec).untraced(|| "sendmsg(2) to tell the caller")?;
        match caller.receive().untraced(|| "recvmsg(2) from the caller")? {
            Some(Frame::Go) => Ok(()),
            _ => bail!("the caller has ended"),
        }
    })?;
    started.wait().map(drop)
}
// ANCHOR_END: live

/// Release the caller's standard streams, terminal and working directory.
pub(crate) fn release_caller() -> Result<()> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .untraced(|| "open(2) /dev/null")?;
    dup2_stdin(&null).untraced(|| "dup2(2) to 0")?;
    dup2_stdout(&null).untraced(|| "dup2(2) to 1")?;
    dup2_stderr(&null).untraced(|| "dup2(2) to 2")?;
    chdir("/").untraced(|| "chdir(2) /")
}

/// Receive the supervisor's frames until the program runs or has failed.
fn answer(supervisor: &Channel, pidfd: &OwnedFd) -> Result<()> {
    loop {
        let failure = match supervisor
            .receive()
            .untraced(|| "recvmsg(2) from the supervisor")?
        {
            Some(Frame::Exec) if supervisor.send(&Frame::Go).is_ok() => {
                return Ok(());
            }
            Some(Frame::Step(line)) => {
                step::print_trace(&line);
                continue;
            }
            Some(Frame::Refused { code, text }) => Some(Failure { code, text }),
            Some(_) => continue,
            None => None,
        };
        let how = waitid(WaitId::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED);
        let how = how.untraced(|| "waitid(2) for the supervisor")?;
        return Err(failure.unwrap_or_else(|| lost(how.into())).into());
    }
}

/// The error for a supervisor that ended without sending a reason.
fn lost(how: Exit) -> Failure {
    let how = match how {
        Exit::Signal(signal) => format!("killed by {signal}"),
        how => format!("exited with status {}", how.code()),
    };
    let text = format!(
        "the supervisor was lost before the program started: {how}\n\
         hint: `prune` or a later run removes its files"
    );
    Failure { code: RUNTIME_ERROR, text }
}
