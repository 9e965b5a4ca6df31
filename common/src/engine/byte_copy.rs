//! The loop that copies bytes from one descriptor to another.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::unistd::{read, write};
use rustix::event::{PollFd, PollFlags};

/// The bytes of one read(2). A pipe or a terminal that has any room takes as many
/// without blocking.
///
/// # Source
/// pipe(7), "PIPE_BUF"
const CHUNK: usize = 4096;

/// A copy from one descriptor to another. It reads the next chunk only when the previous
/// chunk is written, so the writer is never faster than the reader, and a copy needs no
/// more memory than one chunk.
///
/// The caller waits with poll(2) for what [`ByteCopy::wants`] says, and calls
/// [`ByteCopy::ready`] then. The descriptors may block or not.
pub struct ByteCopy {
    from: Option<Box<dyn AsFd>>,
    to: Option<Box<dyn AsFd>>,
    pending: Vec<u8>,
}

/// What a read(2) gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// Bytes. There may be more.
    Bytes,
    /// No bytes now.
    Nothing,
    /// End of file.
    End,
    /// An error. From a terminal, EIO says that no process has its other side open.
    Failed(Errno),
}

impl ByteCopy {
    /// A copy from here to there. Without `to`, [`ByteCopy::read`] only shows the bytes
    /// to its caller.
    #[must_use]
    pub fn new(from: impl AsFd + 'static, to: Option<Box<dyn AsFd>>) -> ByteCopy {
        ByteCopy { from: Some(Box::new(from)), to, pending: Vec::new() }
    }

    /// The descriptor that bytes are read from; `None` after [`ByteCopy::stop`].
    #[must_use]
    pub fn from(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(|from| from.as_fd())
    }

    /// The descriptor that bytes are written to.
    #[must_use]
    pub fn to(&self) -> Option<BorrowedFd<'_>> {
        self.to.as_ref().map(|to| to.as_fd())
    }

    /// Whether bytes were read that are not written yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Read no more: close the source. What is pending is still written.
    pub fn stop(&mut self) {
        self.from = None;
    }

    /// Close both ends, and drop what is pending.
    pub fn close(&mut self) {
        *self = ByteCopy { from: None, to: None, pending: Vec::new() };
    }

    /// The one descriptor to wait for now: the target while bytes are pending, else the
    /// source.
    #[must_use]
    pub fn wants(&self) -> Option<PollFd<'_>> {
        let (fd, flags) = if self.is_pending() {
            (self.to()?, PollFlags::OUT)
        } else {
            (self.from()?, PollFlags::IN)
        };
        Some(PollFd::from_borrowed_fd(fd, flags))
    }

    /// Do what `wants` has waited for: write, or read and show the bytes to `see`.
    pub fn ready(&mut self, see: impl FnOnce(&[u8])) -> Got {
        if self.is_pending() {
            self.write();
            return Got::Nothing;
        }
        self.read(see)
    }

    /// Read one chunk, and show it to `see`.
    pub fn read(&mut self, see: impl FnOnce(&[u8])) -> Got {
        let Some(from) = &self.from else { return Got::Nothing };
        let mut bytes = [0; CHUNK];
        match read(from, &mut bytes) {
            Ok(0) => Got::End,
            Ok(count) => {
                see(&bytes[..count]);
                if self.to.is_some() {
                    self.pending.extend_from_slice(&bytes[..count]);
                }
                Got::Bytes
            }
            // It is asked again.
            Err(Errno::EINTR) => Got::Bytes,
            Err(Errno::EAGAIN) => Got::Nothing,
            Err(errno) => Got::Failed(errno),
        }
    }

    /// Add bytes of another source.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Write as much of what is pending as the target takes. False: the target takes no
    /// more bytes (EPIPE, for example); what is pending is dropped.
    pub fn write(&mut self) -> bool {
        let Some(to) = &self.to else { return false };
        match write(to, &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.pending.clear();
                return false;
            }
        }
        true
    }
}
