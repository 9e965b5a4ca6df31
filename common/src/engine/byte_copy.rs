//! The loop that copies bytes from one descriptor to another.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use nix::errno::Errno;
use nix::unistd::{read, write};
use rustix::event::{PollFd, PollFlags};

use crate::process::poll::poll;

/// The number of bytes of one read(2). A pipe or a terminal that poll(2) reports as
/// writable accepts this many bytes without blocking.
///
/// # Source
/// pipe(7), "PIPE_BUF"
const CHUNK: usize = 4096;

/// A copy from one descriptor to another. It reads the next chunk only after it has
/// written the previous chunk. The writer is therefore never faster than the reader,
/// and the copy needs no more memory than one chunk.
///
/// The caller waits with poll(2) for the descriptor that [`ByteCopy::wants`]
/// returns. Then it calls [`ByteCopy::write`] if bytes are pending, and
/// [`ByteCopy::read`] otherwise.
pub struct ByteCopy {
    from: Option<Box<dyn AsFd>>,
    to: Option<Box<dyn AsFd>>,
    pending: Vec<u8>,
    failure: Option<Errno>,
    chunk: usize,
}

/// The result of a read(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// Bytes were read. There may be more.
    Bytes,
    /// No bytes are available now.
    Nothing,
    /// End of file.
    End,
    /// An error. EIO from a terminal means that no process has its other side open.
    Failed(Errno),
}

impl ByteCopy {
    /// A copy from one descriptor to the other. Without `to`, [`ByteCopy::read`]
    /// only calls its callback with the bytes.
    #[must_use]
    pub fn new(from: impl AsFd + 'static, to: Option<Box<dyn AsFd>>) -> ByteCopy {
        let from: Option<Box<dyn AsFd>> = Some(Box::new(from));
        ByteCopy { from, to, pending: Vec::new(), failure: None, chunk: CHUNK }
    }

    /// Set the number of bytes of one read(2). If it is more than `CHUNK`, the
    /// target must be non-blocking, because a blocking write(2) may wait.
    #[must_use]
    pub fn with_chunk(mut self, bytes: usize) -> ByteCopy {
        self.chunk = bytes;
        self
    }

    /// The descriptor from which bytes are read; `None` after [`ByteCopy::stop`].
    #[must_use]
    pub fn from(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(|from| from.as_fd())
    }

    /// The descriptor to which bytes are written.
    #[must_use]
    pub fn to(&self) -> Option<BorrowedFd<'_>> {
        self.to.as_ref().map(|to| to.as_fd())
    }

    /// Whether there are bytes that were read but not yet written.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Close the source, so that nothing more is read. Pending bytes are still
    /// written.
    pub fn stop(&mut self) {
        self.from = None;
    }

    /// Close both ends and drop the pending bytes.
    pub fn close(&mut self) {
        self.from = None;
        self.to = None;
        self.pending.clear();
    }

    /// The error of a failed write(2) that lost bytes. EPIPE is not reported: the
    /// reader closed the pipe because it had read enough.
    #[must_use]
    pub fn failure(&self) -> Option<Errno> {
        self.failure.filter(|errno| *errno != Errno::EPIPE)
    }

    /// The one descriptor to wait for now: the target while bytes are pending, the
    /// source otherwise.
    #[must_use]
    pub fn wants(&self) -> Option<PollFd<'_>> {
        let (fd, flags) = if self.is_pending() {
            (self.to()?, PollFlags::OUT)
        } else {
            (self.from()?, PollFlags::IN)
        };
        Some(PollFd::from_borrowed_fd(fd, flags))
    }

    /// Read one chunk, and call `see` with its bytes.
    pub fn read(&mut self, see: impl FnOnce(&[u8])) -> ReadResult {
        let writes = self.to.is_some();
        self.read_through(|bytes, pending| {
            see(bytes);
            if writes {
                pending.extend_from_slice(bytes);
            }
        })
    }

    /// Read one chunk. `filter` appends the bytes that are to be written to the
    /// pending bytes.
    pub fn read_through(
        &mut self,
        filter: impl FnOnce(&[u8], &mut Vec<u8>),
    ) -> ReadResult {
        let Some(from) = &self.from else { return ReadResult::Nothing };
        let mut small = [0; CHUNK];
        let mut large = Vec::new();
        let bytes = match self.chunk {
            CHUNK => small.as_mut_slice(),
            chunk => {
                large.resize(chunk, 0);
                large.as_mut_slice()
            }
        };
        match read(from, bytes) {
            Ok(0) => ReadResult::End,
            Ok(count) => {
                filter(&bytes[..count], &mut self.pending);
                ReadResult::Bytes
            }
            // The caller polls and reads again.
            Err(Errno::EINTR) => ReadResult::Bytes,
            Err(Errno::EAGAIN) => ReadResult::Nothing,
            Err(errno) => ReadResult::Failed(errno),
        }
    }

    /// Write as many pending bytes as the target accepts. Returns false if the
    /// target accepts no more bytes (EPIPE, for example); the pending bytes are then
    /// dropped.
    pub fn write(&mut self) -> bool {
        let Some(to) = &self.to else {
            self.pending.clear();
            return false;
        };
        match write(to, &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => {
                self.pending.clear();
                self.failure = Some(errno);
                return false;
            }
        }
        true
    }

    /// Write all pending bytes, and wait as long as necessary. Returns false if the
    /// target accepts no more bytes, as [`ByteCopy::write`] does.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn write_all(&mut self) -> Result<bool> {
        while self.is_pending() {
            if let Some(to) = self.wants() {
                poll(&mut [to], None)?;
            }
            if !self.write() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;
    use rustix::pipe::fcntl_setpipe_size;

    use super::*;

    /// A copy between two pipes of one page each, and the other ends of these pipes.
    fn between_pipes() -> (File, ByteCopy, File) {
        let small = || {
            let (reader, writer) = pipe2(OFlag::O_NONBLOCK).unwrap();
            fcntl_setpipe_size(&reader, CHUNK).unwrap();
            (reader, writer)
        };
        let ((from, source), (target, to)): (_, (OwnedFd, OwnedFd)) =
            (small(), small());
        let copy = ByteCopy::new(from, Some(Box::new(to)));
        (source.into(), copy, target.into())
    }

    #[test]
    fn a_full_target_stops_the_reading_and_nothing_is_lost() {
        let (mut source, mut copy, mut target) = between_pipes();
        let mut shown = 0;
        for _ in 0..2 {
            source.write_all(&[1; CHUNK]).unwrap();
            assert_eq!(copy.read(|bytes| shown += bytes.len()), ReadResult::Bytes);
            assert!(copy.write());
        }
        assert_eq!(shown, 2 * CHUNK);
        assert!(copy.is_pending());
        let mut bytes = vec![0; 2 * CHUNK];
        target.read_exact(&mut bytes[..CHUNK]).unwrap();
        assert!(copy.write_all().unwrap());
        target.read_exact(&mut bytes[CHUNK..]).unwrap();
        assert_eq!(bytes, [1; 2 * CHUNK]);
        assert_eq!(copy.read(|_| {}), ReadResult::Nothing);
        drop(source);
        assert_eq!(copy.read(|_| {}), ReadResult::End);
    }

    #[test]
    fn a_closed_target_is_reported_and_pending_bytes_are_dropped() {
        let (mut source, mut copy, target) = between_pipes();
        source.write_all(b"lost").unwrap();
        assert_eq!(copy.read(|_| {}), ReadResult::Bytes);
        drop(target);
        assert!(!copy.write());
        assert!(!copy.is_pending());
    }
}
