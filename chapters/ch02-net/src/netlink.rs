//! Netlink: a socket that leads to the kernel. A request and its answers are
//! messages, and a message is a header, a fixed struct, and attributes.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto,
    socket_with,
};

/// Flags of a request, and the kinds of messages that end an answer.
///
/// # Source
/// netlink(7), include/uapi/linux/netlink.h
pub const NLM_F_REQUEST: u16 = 0x1;
pub const NLM_F_ACK: u16 = 0x4;
pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_DUMP: u16 = 0x300;
pub const NLM_F_CREATE: u16 = 0x400;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The kind of a message that carries an errno, negated; 0 is the acknowledgement.
pub const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The length in bytes of struct nlmsghdr: length, kind, flags, sequence number,
/// port.
const HEADER: usize = 16;

// ANCHOR: message
/// A request in the making. Numbers are in the machine's own byte order, and every
/// piece begins at a multiple of four bytes.
///
/// # Source
/// netlink(7), rtnetlink(7), "struct rtattr"
pub struct Message(Vec<u8>);

impl Message {
    /// A header. Length and sequence number are filled in when it is sent; the port
    /// is the kernel's to choose.
    pub fn new(kind: u16, flags: u16) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        Message(bytes)
    }

    /// Plain bytes: the fixed struct that this kind of message begins with.
    pub fn plain(mut self, bytes: &[u8]) -> Message {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// An attribute: its length, its kind, the value.
    pub fn attribute(self, kind: u16, value: &[u8]) -> Message {
        self.nest(kind, |mut message| {
            message.0.extend(value);
            message
        })
    }

    /// An attribute that is made of attributes.
    pub fn nest(
        mut self,
        kind: u16,
        inside: impl FnOnce(Message) -> Message,
    ) -> Message {
        let start = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        let mut whole = inside(self).0;
        // The length counts these four bytes too, and no padding.
        let length = (whole.len() - start) as u16;
        whole[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        Message(whole).plain(&[])
    }

    /// The finished request, with its length and this sequence number.
    #[must_use]
    pub fn bytes(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = self.0.clone();
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }
}
// ANCHOR_END: message

/// The attributes in the bytes of an answer, each with its kind. What is cut off or
/// malformed ends the list.
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

/// The u32 at this offset of an answer; 0 where it is too short.
pub fn number(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, u32::from_ne_bytes)
}

/// The socket, and the number of the last request.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

impl Socket {
    /// A socket of the network namespace in which this process is now. The protocol
    /// selects the part of the kernel; `None` is NETLINK_ROUTE: devices, addresses
    /// and routes.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open(protocol: Option<Protocol>) -> Result<Socket> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        // NETLINK_ROUTE is protocol 0, the one that is taken when none is named.
        let fd = socket_with(family, SocketType::RAW, flags, protocol)?;
        Ok(Socket { fd, sequence: Cell::new(0) })
    }

    /// The sequence number for the next request.
    pub fn next_sequence(&self) -> u32 {
        self.sequence.set(self.sequence.get() + 1);
        self.sequence.get()
    }

    // ANCHOR: ask
    /// Send a request, and collect the answers' bodies until the kernel says that
    /// this was all, or that it won't.
    ///
    /// The request has either [`NLM_F_ACK`] or [`NLM_F_DUMP`], or nothing ends it.
    pub fn ask(&self, request: Message) -> Result<Vec<Vec<u8>>> {
        loop {
            let request = request.bytes(self.next_sequence());
            let kernel = SocketAddrNetlink::new(0, 0);
            sendto(&self.fd, &request, SendFlags::empty(), &kernel)?;
            if let Some(answers) = self.answers()? {
                return Ok(answers);
            }
        }
    }

    /// None: something changed while the kernel wrote its list, which has to be
    /// asked for again.
    fn answers(&self) -> Result<Option<Vec<Vec<u8>>>> {
        let (mut found, mut whole) = (Vec::new(), true);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let (count, _) = recv(&self.fd, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = &buffer[..count];
            while rest.len() >= HEADER {
                let length = (number(rest, 0) as usize).clamp(HEADER, rest.len());
                let (header, body) = rest[..length].split_at(HEADER);
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
                // What an earlier request that failed half-way left behind.
                if number(header, 8) != self.sequence.get() {
                    continue;
                }
                let kind = u16::from_ne_bytes([header[4], header[5]]);
                let flags = u16::from_ne_bytes([header[6], header[7]]);
                whole &= flags & NLM_F_DUMP_INTR == 0;
                if kind != NLMSG_ERROR && kind != NLMSG_DONE {
                    found.push(body.to_vec());
                    continue;
                }
                // Both carry an errno, negated; an "error" of 0 is the yes.
                return match number(body, 0) as i32 {
                    0.. => Ok(whole.then_some(found)),
                    code => Err(Errno::from_raw_os_error(-code)),
                };
            }
        }
    }
    // ANCHOR_END: ask
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_is_cut_off_ends_the_list() {
        assert_eq!(attributes(&[8, 0, 1, 0, 9]), []);
        assert_eq!(attributes(&[2, 0, 1, 0]), []);
        assert_eq!(attributes(&[4, 0, 1, 0x80, 7, 7]), [(1, &b""[..])]);
        assert_eq!(number(&[1, 0, 0], 0), 0);
    }
}
