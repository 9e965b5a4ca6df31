//! Netlink: a socket to the kernel. Requests and answers are messages. A message
//! consists of a header, a fixed struct, and attributes.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, Result};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv,
    sendto, socket_with,
};

// The flags of a request, and the kinds of messages that end an answer. Source:
// netlink(7), include/uapi/linux/netlink.h

/// The message is a request. [`Message::new`] adds it.
pub const NLM_F_REQUEST: u16 = 0x1;
/// The kernel confirms the request with an errno, which is 0 for success.
pub const NLM_F_ACK: u16 = 0x4;
/// Fail with EEXIST if the object exists.
pub const NLM_F_EXCL: u16 = 0x200;
/// Answer with all objects.
pub const NLM_F_DUMP: u16 = 0x300;
/// Create the object if it does not exist.
pub const NLM_F_CREATE: u16 = 0x400;
/// Add the object after the existing ones (rules, routes).
pub const NLM_F_APPEND: u16 = 0x800;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The length in bytes of struct nlmsghdr: length, kind, flags, sequence number,
/// port.
const HEADER: usize = 16;

// ANCHOR: message
/// A request that is being built. Numbers are in native byte order. Every part
/// begins at a multiple of four bytes.
///
/// # Source
/// netlink(7), rtnetlink(7), "struct rtattr"
#[derive(Clone, Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// Create a message that has only a header. Length and sequence number are
    /// filled in when the message is sent. The port is 0: the kernel chooses it.
    #[must_use]
    pub fn new(kind: u16, flags: u16) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        Message(bytes)
    }

    /// Add flags to the header.
    #[must_use]
    pub fn flags(mut self, flags: u16) -> Message {
        let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | flags;
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }

    /// Append plain bytes, padded to four: the fixed struct with which this kind of
    /// message begins.
    #[must_use]
    pub fn plain(mut self, bytes: &[u8]) -> Message {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Append an attribute: its length, its kind, its value.
    #[must_use]
    pub fn attribute(self, kind: u16, value: &[u8]) -> Message {
        self.nest(kind, |mut message| {
            message.0.extend(value);
            message
        })
    }

    /// Append an attribute that contains attributes.
    #[must_use]
    pub fn nest(
        mut self,
        kind: u16,
        inside: impl FnOnce(Message) -> Message,
    ) -> Message {
        let start = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        let mut whole = inside(self).0;
        // The length includes these four bytes, but no padding.
        let length = (whole.len() - start) as u16;
        whole[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        Message(whole).plain(&[])
    }

    /// The finished request, with its length and this sequence number.
    fn numbered(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = self.0.clone();
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }

    fn wants_ack(&self) -> bool {
        u16::from_ne_bytes([self.0[6], self.0[7]]) & NLM_F_ACK != 0
    }
}
// ANCHOR_END: message

/// Parse the attributes in the bytes of an answer. Returns the kind and the value of
/// each. The list ends at the first attribute that is truncated or malformed.
#[must_use]
pub fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let [a, b, c, d, ..] = *bytes {
        let length = u16::from_ne_bytes([a, b]) as usize;
        let Some(value) = bytes.get(4..length) else { break };
        // The two highest bits are flags: nested, in network byte order.
        found.push((u16::from_ne_bytes([c, d]) & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The u32 at this offset of an answer, or 0 if the answer is too short.
#[must_use]
pub fn number(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, u32::from_ne_bytes)
}

/// A netlink socket, and the sequence number of its last request. The socket always
/// belongs to the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

impl Socket {
    /// Open a socket in the network namespace of this thread. The protocol `None` is
    /// `NETLINK_ROUTE`, for devices, addresses and routes;
    /// [`rustix::net::netlink::NETFILTER`] is for the packet filter.
    ///
    /// # Errors
    /// EPROTONOSUPPORT if the kernel does not have the protocol; EMFILE if the
    /// process has too many open files.
    /// # Source
    /// netlink(7)
    pub fn open(protocol: Option<Protocol>) -> Result<Socket> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let fd = socket_with(family, SocketType::RAW, flags, protocol)?;
        Ok(Socket { fd, sequence: Cell::new(0) })
    }

    // ANCHOR: ask
    /// Send a request, and collect the bodies of the answers until the kernel
    /// reports the end of the list or an error.
    ///
    /// The request must have either [`NLM_F_ACK`] or [`NLM_F_DUMP`]; otherwise
    /// nothing ends the answer, and this call blocks.
    ///
    /// # Errors
    /// The errno in the kernel's answer; an errno of sendto(2) or recv(2).
    pub fn ask(&self, request: Message) -> Result<Vec<Vec<u8>>> {
        loop {
            let sequence = self.next_sequence();
            self.send(&request.numbered(sequence))?;
            let (mut found, mut whole) = (Vec::new(), true);
            let end = self.read(|answer| {
                // Other sequence numbers belong to an earlier request that failed
                // before all its answers were read.
                if answer.sequence != sequence {
                    return None;
                }
                whole &= !answer.interrupted;
                match answer.body {
                    Body::Data(body) => found.push(body.to_vec()),
                    Body::End(result) => return Some(result),
                }
                None
            })?;
            end?;
            // If an object changed while the kernel wrote its list, send the request
            // again.
            if whole {
                return Ok(found);
            }
        }
    }
    // ANCHOR_END: ask

    /// Send several requests in one datagram. The kernel handles all of them within
    /// one sendto(2), so a SIGKILL takes effect before the first or after the last.
    ///
    /// At least one of the requests must have [`NLM_F_ACK`]; otherwise this call
    /// blocks. The kernel continues after a request that failed, except within an
    /// nf_tables batch, which it then discards as a whole.
    ///
    /// # Errors
    /// The position of the first request that failed, and its errno.
    pub fn ask_batch(
        &self,
        requests: &[Message],
    ) -> std::result::Result<(), (usize, Errno)> {
        let first = self.sequence.get() + 1;
        let mut bytes = Vec::new();
        for request in requests {
            bytes.extend(request.numbered(self.next_sequence()));
        }
        let mut missing = requests.iter().filter(|it| it.wants_ack()).count();
        self.send(&bytes).map_err(|errno| (0, errno))?;
        self.read(|answer| {
            let position = answer.sequence.checked_sub(first)? as usize;
            let Body::End(result) = answer.body else { return None };
            if position >= requests.len() {
                return None;
            }
            if let Err(errno) = result {
                return Some(Err((position, errno)));
            }
            missing -= 1;
            (missing == 0).then_some(Ok(()))
        })
        .map_err(|errno| (0, errno))?
    }

    /// The sequence number for the next request.
    pub fn next_sequence(&self) -> u32 {
        self.sequence.set(self.sequence.get() + 1);
        self.sequence.get()
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.fd, bytes, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// Read answers until `take` returns a value.
    fn read<T>(&self, mut take: impl FnMut(Answer) -> Option<T>) -> Result<T> {
        // The buffer is not filled with zeros: that would take longer than the
        // kernel's answer.
        let mut buffer = Vec::with_capacity(1 << 16);
        loop {
            buffer.clear();
            recv(&self.fd, spare_capacity(&mut buffer), RecvFlags::empty())?;
            if let Some(value) = answers(&buffer).find_map(&mut take) {
                return Ok(value);
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One message from the kernel.
pub(crate) struct Answer<'a> {
    sequence: u32,
    /// An object changed while the kernel wrote the list that contains this message.
    interrupted: bool,
    pub(crate) body: Body<'a>,
}

pub(crate) enum Body<'a> {
    /// An object: its fixed struct and its attributes.
    Data(&'a [u8]),
    /// The request is finished.
    End(Result<()>),
}

/// The messages in a datagram of the kernel.
pub(crate) fn answers(datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.len() < HEADER {
            return None;
        }
        let length = (number(rest, 0) as usize).clamp(HEADER, rest.len());
        let (header, body) = rest[..length].split_at(HEADER);
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some(answer(header, body))
    })
}

fn answer<'a>(header: &[u8], body: &'a [u8]) -> Answer<'a> {
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let body = match kind {
        // Both contain a negative errno. An "error" of 0 means success.
        NLMSG_ERROR | NLMSG_DONE => Body::End(match number(body, 0) as i32 {
            0.. => Ok(()),
            // The kernel's errnos are below 4096: include/linux/err.h, "MAX_ERRNO".
            code @ -4095..0 => Err(Errno::from_raw_os_error(-code)),
            _ => Err(Errno::PROTO),
        }),
        _ => Body::Data(body),
    };
    let flags = u16::from_ne_bytes([header[6], header[7]]);
    Answer {
        sequence: number(header, 8),
        interrupted: flags & NLM_F_DUMP_INTR != 0,
        body,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// An attribute and what is in it: bytes, or attributes.
    #[derive(Clone, Debug, PartialEq)]
    enum Tree {
        Value(u16, Vec<u8>),
        Nest(u16, Vec<Tree>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = (0..0x4000_u16, vec(any::<u8>(), 0..40))
            .prop_map(|(kind, value)| Tree::Value(kind, value));
        leaf.prop_recursive(3, 20, 5, |inner| {
            (0..0x4000_u16, vec(inner, 0..5))
                .prop_map(|(kind, inside)| Tree::Nest(kind, inside))
        })
    }

    fn add(message: Message, tree: &Tree) -> Message {
        match tree {
            Tree::Value(kind, value) => message.attribute(*kind, value),
            Tree::Nest(kind, inside) => {
                message.nest(*kind, |message| inside.iter().fold(message, add))
            }
        }
    }

    fn same(bytes: &[u8], trees: &[Tree]) -> bool {
        let found = attributes(bytes);
        found.len() == trees.len()
            && found.iter().zip(trees).all(|((kind, value), tree)| match tree {
                Tree::Value(own, bytes) => kind == own && value == bytes,
                Tree::Nest(own, inside) => kind == own && same(value, inside),
            })
    }

    // Inputs that failed once are kept in `proptest-regressions`, and tried first.
    proptest! {
        #[test]
        fn any_attributes_are_read_as_they_were_written(trees in vec(tree(), 0..6)) {
            let message = trees.iter().fold(Message::new(16, NLM_F_ACK), add);
            prop_assert!(same(&message.0[HEADER..], &trees));
            let bytes = message.numbered(7);
            let answers: Vec<Answer> = answers(&bytes).collect();
            prop_assert_eq!(answers.len(), 1);
            prop_assert_eq!(answers[0].sequence, 7);
            let Body::Data(body) = answers[0].body else { panic!("a request") };
            prop_assert_eq!(body, &bytes[HEADER..]);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in vec(any::<u8>(), 0..200),
            at in any::<usize>().prop_map(|at| at % 300),
        ) {
            let inside = attributes(&bytes).iter().map(|it| 4 + it.1.len()).sum::<usize>();
            prop_assert!(inside <= bytes.len());
            let _ = number(&bytes, at);
            let mut left = bytes.len();
            for answer in answers(&bytes) {
                left = left.checked_sub(HEADER).unwrap();
                if let Body::Data(body) = answer.body {
                    left = left.checked_sub(body.len()).unwrap();
                    let _ = attributes(body);
                }
            }
        }

        /// A number that is not an errno must not cause a panic.
        #[test]
        fn any_errno_is_read_without_a_panic(code in any::<i32>(), done in any::<bool>()) {
            let kind = if done { NLMSG_DONE } else { NLMSG_ERROR };
            let bytes = Message::new(kind, 0).plain(&code.to_ne_bytes()).numbered(1);
            let answer = answers(&bytes).next().unwrap();
            let Body::End(result) = answer.body else { panic!("an end") };
            prop_assert_eq!(result.is_ok(), code >= 0);
        }
    }

    #[test]
    fn attributes_are_padded_and_nested_and_read_back() {
        let message = Message::new(16, NLM_F_ACK)
            .attribute(3, b"lo\0")
            .nest(18, |inside| inside.attribute(1, b"veth\0").attribute(2, b""));
        let body = &message.0[HEADER..];
        assert_eq!(body[..8], [7, 0, 3, 0, b'l', b'o', 0, 0]);
        let outer = attributes(body);
        assert_eq!(outer[0], (3, &b"lo\0"[..]));
        assert_eq!(outer[1].0, 18);
        // A header, a name of five bytes with its padding, and an empty attribute.
        assert_eq!(outer[1].1.len(), 4 + 8 + 4);
        assert_eq!(attributes(outer[1].1), [(1, &b"veth\0"[..]), (2, &b""[..])]);
    }

    #[test]
    fn a_truncated_attribute_ends_the_list() {
        assert_eq!(attributes(&[8, 0, 1, 0, 9]), []);
        assert_eq!(attributes(&[2, 0, 1, 0]), []);
        assert_eq!(attributes(&[4, 0, 1, 0x80, 7, 7]), [(1, &b""[..])]);
        assert_eq!(number(&[1, 0, 0], 0), 0);
    }
}
