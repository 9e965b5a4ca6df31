//! The standard streams of a program. A different user than the program's user may
//! have opened them.
//!
//! `/dev/stdout` is a link to `/proc/self/fd/1`. Opening it opens the pipe, file or
//! terminal again. The kernel then checks the owner and the mode, which it does not
//! check for write(2) to descriptor 1. A program that root starts as `nobody` can
//! therefore print, but cannot open `/dev/stdout`, unless one of these actions is
//! taken:
//!
//! | stream | action |
//! |---|---|
//! | a pipe or a terminal that this program created | its owner becomes the user |
//! | a pipe or a file of the caller that the user may open | nothing |
//! | another pipe or file of the caller | a new pipe, owned by the user; the supervisor copies the bytes |
//! | a terminal of the caller | nothing: a copy would read input that is typed for other programs |
//! | a device, a socket, a file of the container | nothing |
//!
//! The owner and the mode of the caller's own pipes and files never change.
//!
//! # Source
//! proc_pid_fd(5)

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{
    AccessFlags, Uid, dup2_stderr, dup2_stdin, dup2_stdout, faccessat, fchown,
    pipe2, setfsuid,
};
use rustix::pipe::fcntl_setpipe_size;

use crate::cli::step::Step;
use crate::engine::plan::StreamSource;
use crate::process::channel::{Channel, Frame};

/// The names of the copies' descriptors in the messages to the supervisor.
pub(crate) const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];

/// The size of the pipe for standard input: one page. The supervisor then reads
/// ahead of the program by at most this many bytes of the caller's input.
pub(crate) const READ_AHEAD: usize = 4096;

// ANCHOR: streams
/// Let this user open the three streams again. The process must still have the
/// privilege to allow it.
///
/// # Errors
/// fchown(2), pipe2(2) or dup2(2) fails, or the supervisor has ended.
pub(crate) fn give_to(
    user: Uid,
    sources: &[StreamSource; 3],
    channel: &Channel,
) -> Result<()> {
    let mut copied_stdout = None;
    for (number, source) in sources.iter().enumerate() {
        match source {
            StreamSource::Container => {}
            StreamSource::Made => give(stream(number), number, user)?,
            StreamSource::Caller => {
                // fstat(2) fails for a stream that the caller has closed.
                let Ok(about) = fstat(stream(number)) else { continue };
                if !is_copied(&about) || may_open(number, user) {
                    continue;
                }
                let file = (about.st_dev, about.st_ino);
                if number == 2 && copied_stdout == Some(file) {
                    // One pipe for both streams keeps the order of the output.
                    dup2_stderr(stream(1)).step(|| "dup2(2) 1 to 2")?;
                    continue;
                }
                copy(number, user, channel)?;
                if number == 1 {
                    copied_stdout = Some(file);
                }
            }
        }
    }
    Ok(())
}
// ANCHOR_END: streams

fn stream(number: usize) -> BorrowedFd<'static> {
    match number {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    }
}

fn give(fd: impl AsFd, number: usize, user: Uid) -> Result<()> {
    match fchown(fd, Some(user), None) {
        // The user namespace does not map this user; setuid(2) will report it.
        Err(Errno::EINVAL) => Ok(()),
        given => given.step(|| format!("fchown(2) {number} to {user}")),
    }
}

fn is_copied(about: &FileStat) -> bool {
    let kind = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFIFO || kind == SFlag::S_IFREG
}

/// Whether this user may open the file of this stream. The check uses this
/// user's ID, because the mode alone does not decide: the file may also have an
/// access control list, for example.
///
/// # Source
/// setfsuid(2); faccessat(2), "AT_EACCESS", "AT_EMPTY_PATH"
fn may_open(number: usize, user: Uid) -> bool {
    let wanted = if number == 0 { AccessFlags::R_OK } else { AccessFlags::W_OK };
    let flags = AtFlags::AT_EACCESS | AtFlags::AT_EMPTY_PATH;
    // The process already has the user's groups.
    let before = setfsuid(user);
    let answer = faccessat(stream(number), "", wanted, flags);
    setfsuid(before);
    answer.is_ok()
}

/// Replace this stream by a new pipe. The supervisor gets the other end of the pipe.
fn copy(number: usize, user: Uid, channel: &Channel) -> Result<()> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).step(|| "pipe2(2)")?;
    give(&reader, number, user)?;
    let ours: OwnedFd = match number {
        0 => {
            let size = || format!("fcntl(2) F_SETPIPE_SZ {READ_AHEAD}");
            fcntl_setpipe_size(&reader, READ_AHEAD).step(size)?;
            dup2_stdin(&reader).step(|| "dup2(2) to 0")?;
            writer
        }
        1 => {
            dup2_stdout(&writer).step(|| "dup2(2) to 1")?;
            reader
        }
        _ => {
            dup2_stderr(&writer).step(|| "dup2(2) to 2")?;
            reader
        }
    };
    let frame = Frame::Descriptor(NAMES[number].to_owned(), ours);
    channel.send(&frame).step(|| format!("sendmsg(2) the pipe of {}", NAMES[number]))
}
