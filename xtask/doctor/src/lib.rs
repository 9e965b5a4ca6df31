//! What this machine can run, and why not: each finding is what came of an attempt,
//! in a child process that is ended when it takes too long.
//!
//! Nothing is left behind. What can't be avoided: the kernel may load a module that
//! an attempt is the first to ask for, overlay for one, and keeps it.

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

/// Look at the kernel's side of the machine: namespaces, groups, unions, devices of
/// the network, the state directory and busybox.
#[must_use]
pub fn machine() -> Vec<Check> {
    let who = Who::here();
    let mut checks = walls::checks(who);
    checks.extend(sysctl::checks(who));
    checks.extend(cgroup::checks());
    checks.extend(union::checks(who));
    checks.extend(net::checks(who));
    checks.extend(firewall::checks(who));
    checks.extend(state::checks(who, State::locate()));
    checks
}

/// As whom the attempts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The machine's administrator.
    Root,
    /// An ordinary user, by way of a user namespace.
    User,
}

impl Who {
    fn here() -> Who {
        if rights::is_host_root().unwrap_or(false) { Who::Root } else { Who::User }
    }

    /// The word for a child's command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Who::Root => "root",
            Who::User => "user",
        }
    }
}
