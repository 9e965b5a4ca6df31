//! What the test VM's process 1 and its host have in common: how they talk, and
//! where in the VM things lie.
//!
//! The host gives orders, one at a time; process 1 answers each with an event. So
//! the VM decides nothing: which test runs, for how long, and what its end means is
//! the host's business.

pub mod grade;
pub mod place;
pub mod wire;

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// What process 1 exits with by way of QEMU's isa-debug-exit device.
///
/// Powering off, rebooting and a kernel panic all end QEMU with 0, so 0 is never a
/// success.
pub const VERDICT: u8 = 0x15;

/// The I/O port of isa-debug-exit.
pub const EXIT_PORT: u16 = 0xf4;

/// What QEMU's exit code is when process 1 wrote [`VERDICT`].
///
/// # Source
/// hw/misc/debugexit.c of QEMU
pub const AGREED: i32 = ((VERDICT as i32) << 1) | 1;

// ANCHOR: order
/// From the host to process 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// The first one: set the clock, and get at what lies on the disk. What comes
    /// before it is the same for all VMs of a kind, and is kept in a snapshot.
    Begin {
        /// Seconds since 1970.
        seconds: i64,
        /// And nanoseconds.
        nanoseconds: i64,
    },
    /// Run one test of a test program to its end.
    Test(Test),
    /// Run a program for somebody who watches; its streams follow as bytes.
    Session {
        /// The program and its arguments.
        words: Vec<OsString>,
        /// `TERM` of the terminal, if it is to run on one.
        terminal: Option<(OsString, Size)>,
    },
    /// The terminal has another size now.
    Resize(Size),
    /// Say goodbye, and end the VM.
    Finish,
}
// ANCHOR_END: order

/// One test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The program's name in [`place::TESTS`].
    pub program: String,
    /// The test's name.
    pub name: String,
    /// Variables of its environment, beside those that each test has.
    pub environment: Vec<(String, String)>,
    /// After so many seconds it is killed.
    pub seconds: u64,
    /// A random number, for the answer: a test that writes on the line can't know it.
    pub ticket: u64,
    /// Whether what it leaves is to stay as it is, for somebody who looks: nothing is
    /// killed, whatever the time.
    pub keep: bool,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// From process 1 to the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The VM is up.
    Ready {
        /// `uname -r`.
        kernel: String,
        /// cgroup v1 controllers that the kernel names and could not mount.
        missing: Vec<String>,
    },
    /// The clock is right, and all is in its place.
    Begun,
    /// A test, or a session, has ended.
    Ended {
        /// The order's; 0 for a session.
        ticket: u64,
        /// Which way.
        how: How,
        /// How long it took.
        milliseconds: u64,
        /// Why the test was skipped, if it was: a line a reason.
        skips: Vec<String>,
        /// What it left behind in the VM: processes and mounts.
        left: Vec<String>,
    },
    /// An order could not be followed.
    Refused {
        /// Why.
        error: String,
    },
    /// The last word; the VM ends after it.
    Finished {
        /// How many tests ended.
        tests: u32,
    },
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum How {
    /// With an exit code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
    /// It was still there when its time was up, and was killed.
    TimedOut,
}
