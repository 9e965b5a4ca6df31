//! A socket filter: only the removal of one network device passes.
//!
//! The kernel runs this program of classic BPF on each message that it puts into a
//! socket's queue. The result is the number of bytes to keep; 0 drops the message, and
//! the process is not woken. Loads of more than one byte read in network byte order.
//!
//! # Source
//! Documentation/networking/filter.rst; netlink(7), `struct nlmsghdr`; rtnetlink(7),
//! `struct ifinfomsg`

use std::os::fd::AsFd;

use crate::process::bpf::Instruction;
use crate::process::sys;

/// Copy 16 bits at this offset to the accumulator: BPF_LD|BPF_H|BPF_ABS.
const LOAD_16: u16 = 0x28;
/// The same with 32 bits: BPF_LD|BPF_W|BPF_ABS.
const LOAD_32: u16 = 0x20;
/// Compare the accumulator with the operand, and jump: BPF_JMP|BPF_JEQ|BPF_K.
const EQUAL: u16 = 0x15;
/// End, with the operand as the result: BPF_RET|BPF_K.
const RETURN: u16 = 0x06;

/// The offsets of the message's type and of the device's number.
const TYPE: u32 = 4;
const INDEX: u32 = 16 + 4;
const RTM_DELLINK: u16 = 17;

// ANCHOR: program
fn program(index: u32) -> [Instruction; 6] {
    let plain =
        |code, operand| Instruction { code, jump_true: 0, jump_false: 0, operand };
    let unless = |operand, skip| Instruction {
        code: EQUAL,
        jump_true: 0,
        jump_false: skip,
        operand,
    };
    // The kernel wrote both numbers in the machine's byte order.
    let removed = u16::from_be_bytes(RTM_DELLINK.to_ne_bytes());
    let index = u32::from_be_bytes(index.to_ne_bytes());
    [
        plain(LOAD_16, TYPE),
        unless(removed.into(), 3),
        plain(LOAD_32, INDEX),
        unless(index, 1),
        plain(RETURN, u32::MAX),
        plain(RETURN, 0),
    ]
}
// ANCHOR_END: program

/// Let only the removal of the device of this number into the queue of a netlink socket.
///
/// # Errors
/// EBADF, ENOTSOCK: it is no socket.
/// # Source
/// socket(7), "SO_ATTACH_FILTER"
pub fn only_removal_of(socket: impl AsFd, index: u32) -> nix::Result<()> {
    sys::attach_filter(socket, &program(index))
}
