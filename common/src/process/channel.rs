//! The channel between the two sides of the clone: a socket pair with one frame per
//! message.
//!
//! | frame | from, to | means |
//! |---|---|---|
//! | `Cloned` | intermediate, parent | the child was created in an existing container: its PID and pidfd |
//! | `Go` | parent, child | the barrier opens: first, every `attach` has run; later, every `meanwhile`; with `--trace`, at last, the trace is printed |
//! | `Step` | child, parent | a line of the trace, only with `--trace` |
//! | `Descriptor` | child, parent | an open file for the part that it names |
//! | `Refused` | child, parent | the program will not run: exit status and reason |
//! | `Exec` | child, parent | every `enter` and `meanwhile` has run, execve(2) follows |
//! | end of file | | after `Exec`: the program runs, because the child's end is close-on-exec; before `Exec`: the child died |

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recvmsg, sendmsg, socketpair,
};

/// Maximum length of a frame in bytes; a longer frame is truncated.
const MAX_FRAME: usize = 8192;

/// One message.
#[derive(Debug)]
pub(crate) enum Frame {
    Cloned(Pid, OwnedFd),
    Go,
    Step(String),
    Descriptor(String, OwnedFd),
    Refused { code: u8, text: String },
    Exec,
}

/// One end of the channel.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// The parent's end and the child's end, both close-on-exec.
    pub(crate) fn pair() -> rustix::io::Result<(Channel, Channel)> {
        // SOCK_SEQPACKET preserves message boundaries.
        let (parent, child) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Channel(parent), Channel(child)))
    }

    /// Send one frame. EPIPE: the other end is closed.
    pub(crate) fn send(&self, frame: &Frame) -> rustix::io::Result<()> {
        let number;
        let (tag, code, text, fd) = match frame {
            Frame::Cloned(pid, fd) => {
                number = pid.to_string();
                (b'b', 0, number.as_str(), Some(fd.as_fd()))
            }
            Frame::Go => (b'g', 0, "", None),
            Frame::Step(text) => (b's', 0, text.as_str(), None),
            Frame::Descriptor(part, fd) => {
                (b'd', 0, part.as_str(), Some(fd.as_fd()))
            }
            Frame::Refused { code, text } => (b'r', *code, text.as_str(), None),
            Frame::Exec => (b'x', 0, "", None),
        };
        let head = [tag, code];
        let text = &text.as_bytes()[..text.len().min(MAX_FRAME - head.len())];
        let fds: Vec<BorrowedFd> = fd.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        loop {
            let parts = [IoSlice::new(&head), IoSlice::new(text)];
            // Without MSG_NOSIGNAL, a dead parent would kill the child by SIGPIPE,
            // and the child could not report its error.
            match sendmsg(&self.0, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                sent => return sent.map(drop),
            }
        }
    }

    /// Wait for a frame; `None` is the end of file.
    pub(crate) fn receive(&self) -> rustix::io::Result<Option<Frame>> {
        let mut bytes = [0; MAX_FRAME];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(
                &self.0,
                &mut parts,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                // The other side closed its end with unread data. The kernel reports
                // this once, before the frames that the other side had sent.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                received => break received?.bytes,
            }
        };
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let [tag, code, text @ ..] = &bytes[..received] else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(text).into_owned();
        Ok(Some(match (tag, fd) {
            (b'b', Some(fd)) => {
                let pid = text.parse().map_err(|_| Errno::PROTO)?;
                Frame::Cloned(Pid::from_raw(pid), fd)
            }
            (b'g', None) => Frame::Go,
            (b's', None) => Frame::Step(text),
            (b'd', Some(fd)) => Frame::Descriptor(text, fd),
            (b'r', None) => Frame::Refused { code: *code, text },
            (b'x', None) => Frame::Exec,
            _ => return Err(Errno::PROTO),
        }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frame_arrives_even_if_its_sender_left_a_frame_unread() {
        let (parent, child) = Channel::pair().unwrap();
        parent.send(&Frame::Go).unwrap();
        child.send(&Frame::Refused { code: 125, text: "why".into() }).unwrap();
        drop(child);
        assert!(matches!(
            parent.receive(),
            Ok(Some(Frame::Refused { code: 125, text })) if text == "why"
        ));
        assert!(matches!(parent.receive(), Ok(None)));
    }

    #[test]
    fn frames_arrive_as_they_were_sent() {
        let (parent, child) = Channel::pair().unwrap();
        child.send(&Frame::Step("mount(2)".into())).unwrap();
        child.send(&Frame::Refused { code: 127, text: "x".repeat(9000) }).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        child.send(&Frame::Descriptor("terminal".into(), null.into())).unwrap();
        child.send(&Frame::Exec).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        child.send(&Frame::Cloned(Pid::from_raw(7), null.into())).unwrap();
        drop(child);
        assert!(
            matches!(parent.receive(), Ok(Some(Frame::Step(t))) if t == "mount(2)")
        );
        assert!(matches!(
            parent.receive(),
            Ok(Some(Frame::Refused { code: 127, text }))
                if text.len() == MAX_FRAME - 2
        ));
        assert!(matches!(
            parent.receive(),
            Ok(Some(Frame::Descriptor(part, _))) if part == "terminal"
        ));
        assert!(matches!(parent.receive(), Ok(Some(Frame::Exec))));
        assert!(matches!(
            parent.receive(),
            Ok(Some(Frame::Cloned(pid, _))) if pid.as_raw() == 7
        ));
        assert!(matches!(parent.receive(), Ok(None)));
        assert_eq!(parent.send(&Frame::Go).unwrap_err(), Errno::PIPE);
    }
}
