//! What this machine can run, and why not. Each finding is the outcome of an attempt
//! in a child process, which is killed if it takes too long.
//!
//! Nothing is left behind, with one exception: the kernel may load a module when an
//! attempt first uses it, such as overlay, and the module stays loaded.

#![forbid(unsafe_code)]

mod attempt;
mod cgroup;
mod child;
mod firewall;
mod net;
mod report;
mod state;
mod sysctl;
mod union;
mod walls;

pub use attempt::{attempt, can_execute};
pub use child::VERB;
pub use report::{Check, Report, Status, Task, Verdict};

use common::rights;
use common::state::State;

/// Check the kernel and the machine: namespaces, cgroups, union filesystems, network
/// devices, the state directory and busybox.
#[must_use]
pub fn machine() -> Vec<Check> {
    let caller = Caller::here();
    let mut checks = walls::checks(caller);
    checks.extend(sysctl::checks(caller));
    checks.extend(cgroup::checks());
    checks.extend(union::checks(caller));
    checks.extend(net::checks(caller));
    checks.extend(firewall::checks(caller));
    checks.extend(state::checks(caller, State::locate()));
    checks
}

/// The user as which the attempts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The host's root.
    Root,
    /// An ordinary user, in a user namespace.
    User,
}

impl Caller {
    fn here() -> Caller {
        if rights::is_host_root().unwrap_or(false) {
            Caller::Root
        } else {
            Caller::User
        }
    }

    /// The argument for a child's command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Caller::Root => "root",
            Caller::User => "user",
        }
    }
}
