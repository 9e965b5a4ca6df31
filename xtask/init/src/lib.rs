//! The protocol between the host and PID 1 of the test VM, and the paths in the VM.
//!
//! The host sends one order at a time, and PID 1 answers each order with an event.
//! The VM makes no decisions: the host decides which test runs, for how long, and
//! what its end means.

pub mod grade;
pub mod place;
pub mod wire;

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// The value that PID 1 writes to QEMU's isa-debug-exit device to end the VM.
///
/// After a power-off, a reboot or a kernel panic, QEMU exits with 0, so 0 never
/// means success.
pub const VERDICT: u8 = 0x15;

/// The I/O port of isa-debug-exit.
pub const EXIT_PORT: u16 = 0xf4;

/// The exit status of QEMU after PID 1 wrote [`VERDICT`].
///
/// # Source
/// hw/misc/debugexit.c of QEMU
pub const AGREED: i32 = ((VERDICT as i32) << 1) | 1;

// ANCHOR: order
/// A message from the host to PID 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// The first order: set the clock, and mount the disk. The VM's state before
    /// this order is the same for all VMs of a kind, and is kept in a snapshot.
    Begin {
        /// Seconds since 1970.
        seconds: i64,
        /// Nanoseconds of the second.
        nanoseconds: i64,
    },
    /// Run one test of a test program until it ends.
    Test(Test),
    /// Run an interactive program; its streams follow as bytes.
    Session {
        /// The program and its arguments.
        words: Vec<OsString>,
        /// The value of `TERM` and the size, if the program gets a terminal.
        terminal: Option<(OsString, Size)>,
    },
    /// The size of the terminal has changed.
    Resize(Size),
    /// Send the last message, and end the VM.
    Finish,
}
// ANCHOR_END: order

/// An order to run one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The program's name in [`place::TESTS`].
    pub program: String,
    /// The test's name.
    pub name: String,
    /// Environment variables, besides those of every test.
    pub environment: Vec<(String, String)>,
    /// The time limit in seconds, after which the test is killed.
    pub seconds: u64,
    /// A random number that the answer must contain: a test that writes to the
    /// channel cannot know it.
    pub ticket: u64,
    /// Whether to keep everything that the test leaves, for an interactive session:
    /// nothing is killed, even after the time limit.
    pub keep: bool,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// A message from PID 1 to the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The VM is up.
    Ready {
        /// `uname -r`.
        kernel: String,
        /// The cgroup v1 controllers that the kernel lists but cannot mount.
        missing: Vec<String>,
    },
    /// The clock is set, and the disk is mounted.
    Begun,
    /// A test, or a session, has ended.
    Ended {
        /// The ticket of the order; 0 for a session.
        ticket: u64,
        /// How it ended.
        how: How,
        /// The duration.
        milliseconds: u64,
        /// The reasons if the test was skipped, one per line.
        skips: Vec<String>,
        /// The processes and mounts that it left in the VM.
        left: Vec<String>,
    },
    /// An order could not be executed.
    Refused {
        /// The reason.
        error: String,
    },
    /// The last message; the VM ends after it.
    Finished {
        /// The number of tests that ended.
        tests: u32,
    },
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum How {
    /// It exited with this status.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// It exceeded the time limit and was killed.
    TimedOut,
}
