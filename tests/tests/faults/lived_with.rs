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

/// Whether this is systemd's mark, or the group that keeps controllers enabled.
fn is_of_systemd(what: &str) -> bool {
    what == "/run/systemd/system" || what.ends_with("/mydocker.keep")
}

#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    rule(None, &["read", "write", "ppoll", "sendmsg", "recvmsg", "waitid"], &[EINTR],
        any, "the interrupted call is repeated"),
    rule(CHILD, &["openat2"], &[EAGAIN], any,
        "openat2(2) is repeated if another process may have changed the path"),
    rule(None, &["close"], &[], any,
        "the descriptor is closed despite the error, and no data depends on it"),
    rule(None, &["mmap", "munmap"], &[], any,
        "malloc(3) gets memory by another call, or does not return unused memory"),
    rule(HOST, &["statx"], &[], |what| what.is_empty(),
        "the size of an open file only reduces the number of reads"),
    rule(HOST, &["statx"], &[], volumes_directory,
        "the directory is created, and mkdir(2) reports that it exists"),
    rule(HOST, &["statx"], &[], |what| what.ends_with("/running"),
        "mkdir(2) reports that it exists, and readdir(3) that it is a directory"),
    rule(HOST, &["statx"], &[], is_of_systemd,
        "without systemd, no group keeps the controllers enabled"),
    rule(CHILD, &["statx"], &[], |what| what.ends_with("/true"),
        "the search continues in the other directories of PATH"),
    rule(CHILD, &["openat"], &[EACCES], |what| what.ends_with("/true"),
        "a user may execute a program without read permission"),
    rule(HOST, &["openat", "statx", "unlinkat"], &[EACCES, EPERM], in_own_directory,
        "the mode of the directory is changed, and then it is removed"),
    rule(HOST, &["rmdir"], &[], |what| what.contains("/mydocker-"),
        "the processes of the group are killed, and then it is removed"),
    rule(HOST, &["rmdir", "unlink"], &[], |what| what.contains("/containers/"),
        "the content is removed first, and then the directory"),
    rule(CHILD, &["mknodat"], &[EPERM], any,
        "the device of the host is mounted instead"),
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
