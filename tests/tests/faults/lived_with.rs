//! The failures that a run can live with: it goes on, and ends with 0. All others are
//! told, and end it with 125.

use blackbox::{Call, Side};
use nix::errno::Errno::{self, *};

use crate::table::row_of;

/// What is lived with, and why that is right.
pub(crate) struct Rule {
    side: Option<Side>,
    calls: &'static [&'static str],
    /// Any, if there is none.
    errnos: &'static [Errno],
    /// A part of what the call is about.
    what: &'static str,
    pub(crate) reason: &'static str,
}

const HOST: Option<Side> = Some(Side::Host);
const CHILD: Option<Side> = Some(Side::Guest);

const fn rule(
    side: Option<Side>,
    calls: &'static [&'static str],
    errnos: &'static [Errno],
    what: &'static str,
    reason: &'static str,
) -> Rule {
    Rule { side, calls, errnos, what, reason }
}

#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    rule(None, &["read", "write", "poll", "sendmsg", "recvmsg", "waitid", "getrandom"],
        &[EINTR], "", "an interrupted call is made again"),
    rule(CHILD, &["openat2"], &[EAGAIN], "",
        "openat2(2) that can't be sure about `..` is made again"),
    rule(None, &["close"], &[], "",
        "the descriptor is gone all the same, and no data of ours hang on it"),
    rule(None, &["brk", "mmap", "mremap", "munmap"], &[], "",
        "malloc(3) takes memory another way, or keeps what it could give back"),
    rule(CHILD, &["rt_sigaction"], &[], "",
        "made for each signal, also for the two that take no handler"),
    rule(HOST, &["statx"], &[], "",
        "a size that spares some reads, or a look that the next call repeats"),
    rule(CHILD, &["statx"], &[], "/true",
        "the program is looked for in the other directories of PATH"),
    rule(CHILD, &["openat"], &[EACCES], "/true",
        "who may not read a program may execute it"),
    rule(HOST, &["openat", "unlinkat"], &[EACCES, EPERM], "",
        "a directory that is closed to its owner is opened up, and removed then"),
    rule(HOST, &["rmdir"], &[EBUSY], "mydocker-",
        "a group whose last process is about to go is tried again"),
    rule(HOST, &["rt_sigprocmask"], &[], "",
        "the mask is put back as the last thing of all"),
];

/// The rule by which a run may end with 0 all the same.
pub(crate) fn rule_for(call: &Call, errno: Errno) -> Option<&'static Rule> {
    let name = row_of(call.number).name;
    RULES.iter().find(|rule| {
        rule.side.is_none_or(|side| side == call.side)
            && rule.calls.contains(&name)
            && (rule.errnos.is_empty() || rule.errnos.contains(&errno))
            && call.what.contains(rule.what)
    })
}
