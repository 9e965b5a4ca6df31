//! The failures that a run tolerates: it continues, and ends with 0. All other failures are
//! reported, and the run ends with 125.

use blackbox::{Call, Side};
use nix::errno::Errno::{self, *};

use crate::table::row_of;

/// A tolerated failure, and the reason.
pub(crate) struct Rule {
    side: Option<Side>,
    calls: &'static [&'static str],
    /// Empty: any errno.
    errnos: &'static [Errno],
    /// Whether the rule applies to a call about this object.
    about: fn(&str) -> bool,
    /// Whether something may be left to the next run's sweep.
    pub(crate) later: bool,
    pub(crate) reason: &'static str,
}

const HOST: Option<Side> = Some(Side::Host);
const CHILD: Option<Side> = Some(Side::Guest);

const fn rule(
    side: Option<Side>,
    calls: &'static [&'static str],
    errnos: &'static [Errno],
    about: fn(&str) -> bool,
    reason: &'static str,
) -> Rule {
    Rule { side, calls, errnos, about, later: false, reason }
}

const fn any(_: &str) -> bool {
    true
}

/// Whether this is the directory of a container, or a path below it.
fn in_own_directory(what: &str) -> bool {
    !what.starts_with('/') || what.contains("/containers/")
}

/// Whether this is the directory of the volume on the host, or one above it.
fn volumes_directory(what: &str) -> bool {
    what.starts_with("/tmp/") && !what.contains("/state")
}

#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    rule(None, &["read", "write", "ppoll", "sendmsg", "recvmsg", "waitid"], &[EINTR],
        any, "an interrupted call is made again"),
    rule(CHILD, &["openat2"], &[EAGAIN], any,
        "openat2(2) that can't be sure about `..` is made again"),
    rule(None, &["close"], &[], any,
        "the descriptor is gone all the same, and no data of ours hang on it"),
    rule(None, &["mmap", "munmap"], &[], any,
        "malloc(3) takes memory another way, or keeps what it could give back"),
    rule(HOST, &["statx"], &[], |what| what.is_empty(),
        "the size of an open file only spares some reads"),
    rule(HOST, &["statx"], &[], volumes_directory,
        "what can't be looked at is made, and mkdir(2) says that it is there"),
    rule(HOST, &["statx"], &[], |what| what.ends_with("/running"),
        "mkdir(2) says that it is there, and readdir(3) that it is a directory"),
    rule(CHILD, &["statx"], &[], |what| what.ends_with("/true"),
        "the program is looked for in the other directories of PATH"),
    rule(CHILD, &["openat"], &[EACCES], |what| what.ends_with("/true"),
        "a user may execute a program without read permission"),
    rule(HOST, &["openat", "statx", "unlinkat"], &[EACCES, EPERM], in_own_directory,
        "a directory that is closed to its owner is opened up, and removed then"),
    rule(HOST, &["rmdir"], &[], |what| what.contains("/mydocker-"),
        "a group that isn't removed at once is looked into, and removed then"),
    rule(HOST, &["rmdir", "unlink"], &[], |what| what.contains("/containers/"),
        "what isn't removed at once is looked through, and removed then"),
    rule(CHILD, &["mknodat"], &[EPERM], any,
        "a device that may not be made is bound"),
    Rule { later: true, ..rule(HOST, &["openat"], &[EACCES],
        |what| what.contains("/running/"),
        "another user owns a container whose lock cannot be opened") },
];

/// The rule that allows a run to end with 0.
pub(crate) fn rule_for(call: &Call, errno: Errno) -> Option<&'static Rule> {
    let name = row_of(call.number).name;
    RULES.iter().find(|rule| {
        rule.side.is_none_or(|side| side == call.side)
            && rule.calls.contains(&name)
            && (rule.errnos.is_empty() || rule.errnos.contains(&errno))
            && (rule.about)(&call.what)
    })
}
