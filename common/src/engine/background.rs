//! A process that stays behind when a command ends.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, bail};
use nix::sched::CloneFlags;
use nix::sys::stat::{Mode, umask};
use nix::unistd::setsid;

use crate::cli::step::{self, Step};
use crate::engine::detach::let_go;
use crate::process::channel::{Channel, Frame};
use crate::process::exit::{Failure, OURS, code_of};
use crate::process::sys::{self, Side};

/// Start a process that stays behind: it calls `start`, this process learns how that went,
/// and then it calls `life` and ends. It keeps nothing of the caller's: no descriptor, no
/// terminal, no directory.
///
/// # Errors
/// The error of `start`, with its exit status; EAGAIN, ENOMEM from clone3(2). No process
/// stays behind then.
pub fn in_background<T>(
    start: impl FnOnce() -> Result<T>,
    life: impl FnOnce(T),
) -> Result<()> {
    let (ours, theirs) = Channel::pair().look(|| "socketpair(2)")?;
    sys::assert_one_thread()?;
    let none = CloneFlags::empty();
    match sys::clone3(none, none, None)
        .look(|| "clone3(2) of a background process")?
    {
        Side::Child => {
            drop(ours);
            stay(theirs, start, life)
        }
        Side::Parent(..) => {
            drop(theirs);
            match ours.receive().look(|| "recvmsg(2) from the background process")? {
                Some(Frame::Exec) => Ok(()),
                Some(Frame::Refused { code, text }) => {
                    Err(Failure { code, text }.into())
                }
                _ => bail!("the background process was lost before it had started"),
            }
        }
    }
}

/// Let a child do something for which nobody waits, and close a descriptor afterwards:
/// the kernel may make the process wait that closes the last copy of it. The caller closes
/// its own copy. Nobody learns of an error of `work`.
///
/// # Errors
/// EAGAIN, ENOMEM from clone3(2).
pub fn finish_in_background(
    descriptor: impl AsFd,
    work: impl FnOnce(),
) -> Result<()> {
    let none = CloneFlags::empty();
    match sys::clone3(none, none, None)
        .look(|| "clone3(2) of a background process")?
    {
        Side::Parent(..) => Ok(()),
        Side::Child => {
            // A copy of a lock or of a pipe would make others wait as well.
            if sys::close_all_but(&descriptor).is_ok() && let_go().is_ok() {
                step::hush();
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
            sys::leave(0)
        }
    }
}

fn stay<T>(
    caller: Channel,
    start: impl FnOnce() -> Result<T>,
    life: impl FnOnce(T),
) -> ! {
    // The channel lives to the end: the caller's destructors are not this process' own.
    let caller: &'static Channel = Box::leak(Box::new(caller));
    let whole = AssertUnwindSafe(|| -> Result<()> {
        setsid().look(|| "setsid(2)")?;
        umask(Mode::from_bits_truncate(0o022));
        sys::close_all_but(caller).look(|| "close_range(2)")?;
        let started = start()?;
        let_go()?;
        step::hush();
        caller.send(&Frame::Exec).look(|| "sendmsg(2) to tell the caller")?;
        life(started);
        Ok(())
    });
    let error = match catch_unwind(whole) {
        Ok(Ok(())) => sys::leave(0),
        Ok(Err(error)) => error,
        Err(_) => anyhow!("the background process panicked"),
    };
    let (code, text) = (code_of(&error), step::report(&error));
    let _ = caller.send(&Frame::Refused { code, text });
    sys::leave(OURS)
}
