//! Background processes, which continue to run when the command ends.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, bail};
use nix::sched::CloneFlags;
use nix::sys::stat::{Mode, umask};
use nix::unistd::setsid;

use crate::cli::step::{self, Step};
use crate::engine::detach::release_caller;
use crate::process::channel::{Channel, Frame};
use crate::process::exit::{Failure, RUNTIME_ERROR, code_of};
use crate::process::sys::{self, Side};

/// Start a background process. It calls `start` and reports the result to this
/// process. Then it calls `life`, and ends when `life` returns. It keeps none of the
/// caller's open files, terminals and directories.
///
/// # Errors
/// `start` fails: its error, with its exit status. clone3(2) fails: EAGAIN, ENOMEM.
/// In both cases no background process remains.
pub fn in_background<T>(
    start: impl FnOnce() -> Result<T>,
    life: impl FnOnce(T),
) -> Result<()> {
    let (ours, theirs) = Channel::pair().untraced(|| "socketpair(2)")?;
    sys::assert_one_thread()?;
    let none = CloneFlags::empty();
    match sys::clone3(none, none, None)
        .untraced(|| "clone3(2) of a background process")?
    {
        Side::Child => {
            drop(ours);
            run_background(theirs, start, life)
        }
        Side::Parent(..) => {
            drop(theirs);
            match ours
                .receive()
                .untraced(|| "recvmsg(2) from the background process")?
            {
                Some(Frame::Exec) => Ok(()),
                Some(Frame::Refused { code, text }) => {
                    Err(Failure { code, text }.into())
                }
                _ => bail!("the background process was lost before it had started"),
            }
        }
    }
}

/// Let a child process run `work` and then close a descriptor. No process waits for the
/// child. This is for descriptors of which the last close(2) may block: the child
/// closes the last copy. The caller must close its own copy. An error of `work` is
/// not reported.
///
/// # Errors
/// EAGAIN, ENOMEM from clone3(2).
pub fn finish_in_background(
    descriptor: impl AsFd,
    work: impl FnOnce(),
) -> Result<()> {
    let none = CloneFlags::empty();
    match sys::clone3(none, none, None)
        .untraced(|| "clone3(2) of a background process")?
    {
        Side::Parent(..) => Ok(()),
        Side::Child => {
            // The child must not keep a copy of a lock or of a pipe: other processes
            // would wait for the child.
            if sys::close_all_but(&descriptor).is_ok() && release_caller().is_ok() {
                step::stop_trace();
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
            sys::exit_now(0)
        }
    }
}

fn run_background<T>(
    caller: Channel,
    start: impl FnOnce() -> Result<T>,
    life: impl FnOnce(T),
) -> ! {
    // The channel must live until the process ends. The caller's destructors must
    // not run here, because this process is only a copy of the caller.
    let caller: &'static Channel = Box::leak(Box::new(caller));
    let whole = AssertUnwindSafe(|| -> Result<()> {
        setsid().untraced(|| "setsid(2)")?;
        umask(Mode::from_bits_truncate(0o022));
        sys::close_all_but(caller).untraced(|| "close_range(2)")?;
        let started = start()?;
        release_caller()?;
        step::stop_trace();
        caller.send(&Frame::Exec).untraced(|| "sendmsg(2) to tell the caller")?;
        life(started);
        Ok(())
    });
    let error = match catch_unwind(whole) {
        Ok(Ok(())) => sys::exit_now(0),
        Ok(Err(error)) => error,
        Err(_) => anyhow!("the background process panicked"),
    };
    let (code, text) = (code_of(&error), step::report(&error));
    let _ = caller.send(&Frame::Refused { code, text });
    sys::exit_now(RUNTIME_ERROR)
}
