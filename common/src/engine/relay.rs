//! The standard streams in the supervisor: copies between the caller's streams and
//! this program's pipes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::{Whence, lseek};
use rustix::event::{PollFd, PollFlags};
use rustix::io::ioctl_fionread;

use crate::cli::step::Step;
use crate::engine::byte_copy::{ByteCopy, ReadResult};
use crate::engine::poll_loop::{Running, Watch};
use crate::engine::streams::NAMES;

/// Serve the pipes with which the child has replaced the caller's streams.
///
/// # Errors
/// fcntl(2) fails.
pub(crate) fn serve(running: &mut Running) -> Result<()> {
    let [stdin, stdout, stderr] = NAMES.map(|name| running.take_if_sent(name));
    if let Some(pipe) = stdin {
        running.watch(InputRelay::new(pipe)?);
    }
    for (pipe, to) in
        [(stdout, rustix::stdio::stdout()), (stderr, rustix::stdio::stderr())]
    {
        if let Some(pipe) = pipe {
            running.watch(OutputRelay::new(pipe, Some(to), |_| {})?);
        }
    }
    Ok(())
}

fn nonblocking(pipe: &OwnedFd, mode: OFlag) -> Result<()> {
    fcntl(pipe, FcntlArg::F_SETFL(mode | OFlag::O_NONBLOCK))
        .step(|| "fcntl(2) O_NONBLOCK")
        .map(drop)
}

/// A copy from a pipe, to which the program prints, to a stream of the caller.
pub struct OutputRelay<See> {
    copy: ByteCopy,
    see: See,
    /// The name of the caller's stream, for an error.
    name: &'static str,
}

impl<See: FnMut(&[u8])> OutputRelay<See> {
    /// Copy from `pipe` to `to`. Without `to`, the bytes are read and not written.
    /// `see` is called with every chunk.
    ///
    /// # Errors
    /// fcntl(2) fails.
    pub fn new(
        pipe: OwnedFd,
        to: Option<BorrowedFd<'static>>,
        see: See,
    ) -> Result<OutputRelay<See>> {
        // `finish` reads until the pipe is empty. This read must not wait.
        nonblocking(&pipe, OFlag::O_RDONLY)?;
        let is_stderr = to.is_some_and(|to| to.as_raw_fd() == libc::STDERR_FILENO);
        let name = if is_stderr { "stderr" } else { "stdout" };
        let to = to.map(|to| Box::new(to) as Box<dyn AsFd>);
        Ok(OutputRelay { copy: ByteCopy::new(pipe, to), see, name })
    }

    fn write(&mut self) {
        if !self.copy.write() {
            // The reader has closed the stream. Close the pipe too: the program's
            // next write(2) then fails with EPIPE, as it would without the copy.
            self.copy.stop();
        }
    }

    /// Returns false if there are no more bytes now.
    fn read(&mut self) -> bool {
        let got = self.copy.read(&mut self.see);
        if got == ReadResult::End {
            self.copy.stop();
        }
        got == ReadResult::Bytes
    }
}

impl<See: FnMut(&[u8])> Watch for OutputRelay<See> {
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.copy.wants());
    }

    fn ready(&mut self, events: &[PollFlags]) -> Result<()> {
        if events.iter().any(|event| !event.is_empty()) {
            if self.copy.is_pending() {
                self.write();
            } else {
                self.read();
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        loop {
            if !self.copy.write_all()? {
                self.copy.stop();
            }
            if !self.read() {
                break;
            }
        }
        match self.copy.failure() {
            None => Ok(()),
            Some(errno) => Err(errno).untraced(|| {
                format!("write(2) the program's output to {}", self.name)
            }),
        }
    }
}

/// A copy from the caller's standard input to a pipe from which the program reads.
///
/// The next chunk is read only when the pipe is empty. At most one chunk of the
/// caller's input is therefore read without reaching the program. If the input is a
/// file, this chunk is given back at the end, by lseek(2).
struct InputRelay {
    copy: ByteCopy,
    /// Whether the pipe was found empty, and no bytes were written after that.
    empty: bool,
}

impl InputRelay {
    fn new(pipe: OwnedFd) -> Result<InputRelay> {
        nonblocking(&pipe, OFlag::O_WRONLY)?;
        let stdin = rustix::stdio::stdin();
        let copy = ByteCopy::new(stdin, Some(Box::new(pipe)));
        Ok(InputRelay { copy, empty: false })
    }

    /// Stop reading. Give unread bytes back to the caller if possible: the position
    /// in a file can be moved back.
    fn close(&mut self, unwritten: usize) {
        let Some(pipe) = self.copy.to() else { return };
        let unread = ioctl_fionread(pipe).unwrap_or(0) + unwritten as u64;
        if let Ok(back) = i64::try_from(unread) {
            // ESPIPE: the input is a pipe.
            let _ = lseek(io::stdin(), -back, Whence::SeekCur);
        }
        self.copy.close();
    }
}

impl Watch for InputRelay {
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let Some(pipe) = self.copy.to() else { return };
        if !self.empty {
            fds.push(PollFd::from_borrowed_fd(pipe, PollFlags::OUT));
            return;
        }
        // With empty flags, poll(2) reports only that the program closed the pipe.
        fds.push(PollFd::from_borrowed_fd(pipe, PollFlags::empty()));
        fds.extend(self.copy.wants());
    }

    fn ready(&mut self, events: &[PollFlags]) -> Result<()> {
        if self.copy.to().is_none() {
            return Ok(());
        }
        if events[0].contains(PollFlags::ERR) {
            self.close(0);
        } else if !self.empty {
            if self.copy.is_pending() {
                self.copy.write();
            } else {
                self.empty = events[0].contains(PollFlags::OUT);
            }
        } else if events.get(1).is_some_and(|event| !event.is_empty()) {
            let mut count = 0;
            match self.copy.read(|bytes| count = bytes.len()) {
                ReadResult::Bytes => {
                    self.empty = count == 0;
                    if count > 0 && !self.copy.write() {
                        self.close(count);
                    }
                }
                ReadResult::Nothing => {}
                // Closing the pipe gives the program an end of file.
                ReadResult::End | ReadResult::Failed(_) => self.copy.close(),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.close(0);
        Ok(())
    }
}
