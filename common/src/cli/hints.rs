//! Hints that more than one chapter gives.

use std::env;
use std::fs;

use nix::errno::Errno;
use nix::sched::CloneFlags;

/// For calls that write below the state directory.
#[must_use]
pub fn state(errno: Errno) -> Option<String> {
    let text = match errno {
        Errno::ENOSPC | Errno::EDQUOT => {
            "the disk of the state directory is full: make room, or let \
             MYDOCKER_ROOT name a directory on another one"
        }
        Errno::EROFS => {
            "the state directory's file system is read-only: let MYDOCKER_ROOT \
             name a directory that can be written"
        }
        Errno::EACCES | Errno::EPERM => {
            "the state directory belongs to somebody else: let MYDOCKER_ROOT name \
             a directory of your own"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// For a process that is to be in a cgroup, moved or born there.
///
/// # Source
/// cgroup-v2.rst, "Threads": a group whose type is "domain invalid"
pub const INVALID_GROUP: &str = "in cgroup v2 a group holds processes or hands \
    controllers down: the one above this has processes of its own, so move them into \
    a group inside it";

/// For clone(2) and for what it takes to fill a new user namespace.
#[must_use]
pub fn clone(errno: Errno, namespaces: CloneFlags) -> Option<String> {
    let user = namespaces.contains(CloneFlags::CLONE_NEWUSER);
    let text = match errno {
        Errno::EPERM | Errno::EACCES | Errno::ENOSPC if user => {
            format!("{}; this works: {}", closed(), as_root())
        }
        Errno::EPERM => format!(
            "making a namespace takes CAP_SYS_ADMIN; this works: {}",
            as_root()
        ),
        Errno::ENOSPC => {
            "a limit below /proc/sys/user is reached: raise it, or end \
                          other containers"
                .to_owned()
        }
        Errno::EAGAIN => "there may be no more processes: by the user's limit \
                          (ulimit -u), by pids.max of the group, or by kernel.pid_max"
            .to_owned(),
        // Only the group that the child is to be born into says these.
        Errno::EOPNOTSUPP | Errno::EBUSY => INVALID_GROUP.to_owned(),
        Errno::EINVAL => "this kernel lacks one of these namespaces: compare with \
                          ls /proc/self/ns"
            .to_owned(),
        _ => return None,
    };
    Some(text)
}

/// Why an ordinary user gets no user namespace here.
fn closed() -> String {
    let read = |name: &str| {
        let value = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        value.trim().parse::<u64>().ok()
    };
    if read("user/max_user_namespaces") == Some(0) {
        "user namespaces are closed here (sysctl user.max_user_namespaces is 0)"
    } else if read("kernel/unprivileged_userns_clone") == Some(0) {
        "user namespaces are closed to ordinary users here (sysctl \
         kernel.unprivileged_userns_clone is 0)"
    } else if read("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        "AppArmor keeps ordinary users from user namespaces here (sysctl \
         kernel.apparmor_restrict_unprivileged_userns is 1)"
    } else {
        "this machine lets you have no user namespace (inside another container, \
         its seccomp filter usually forbids it)"
    }
    .to_owned()
}

/// This very command line, for root.
fn as_root() -> String {
    let program = env::current_exe().unwrap_or_default().into_os_string();
    let arguments = env::args_os().skip(1);
    let words = std::iter::once(program).chain(arguments);
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    format!("sudo {}", words.collect::<Vec<_>>().join(" "))
}

/// A word as a shell reads it back.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("/tmp/v:/test"), "/tmp/v:/test");
        assert_eq!(quoted("echo it's"), r"'echo it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
