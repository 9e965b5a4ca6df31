//! Hints that more than one chapter prints.

use std::env;
use std::fs;

use nix::errno::Errno;
use nix::sched::CloneFlags;

/// The hint for calls that write below the state directory.
#[must_use]
pub fn state(errno: Errno) -> Option<String> {
    let text = match errno {
        Errno::ENOSPC | Errno::EDQUOT => {
            "the disk of the state directory is full: free some space, or set \
             MYDOCKER_ROOT to a directory on another disk"
        }
        Errno::EFBIG => {
            "the file is larger than the limit of this process (ulimit -f): raise the \
             limit, or start the command without it"
        }
        Errno::EROFS => {
            "the state directory's filesystem is read-only: set \
             MYDOCKER_ROOT to a writable directory"
        }
        Errno::EACCES | Errno::EPERM => {
            "the state directory belongs to another user: set MYDOCKER_ROOT to \
             a directory of your own"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// The hint for a process that is moved to a cgroup, or created there.
///
/// # Source
/// cgroup-v2.rst, "Threads": a group whose type is "domain invalid"
pub const INVALID_GROUP: &str = "a cgroup v2 cannot both contain processes and \
    enable controllers for its children: the parent cgroup contains processes; move \
    them into a child cgroup";

/// The hint for a process that may not be created in the container's cgroup.
///
/// # Source
/// cgroup-v2.rst, "Delegation Containment": the process also needs write permission
/// for the common parent cgroup of its own cgroup and the new cgroup
const NOT_DELEGATED: &str = "the container is in a cgroup of another session, and a \
    process of this session cannot enter it: with systemd, put this before the \
    command: systemd-run --user --scope -p Delegate=yes";

/// The hint for clone(2), and for the calls that set up a new user namespace.
#[must_use]
pub fn clone(errno: Errno, namespaces: CloneFlags) -> Option<String> {
    let user = namespaces.contains(CloneFlags::CLONE_NEWUSER);
    let text = match errno {
        Errno::EPERM | Errno::EACCES | Errno::ENOSPC if user => {
            format!("{}; run as root: {}", no_user_namespace(), as_root())
        }
        Errno::EPERM => format!(
            "creating a namespace requires CAP_SYS_ADMIN; run as root: {}",
            as_root()
        ),
        Errno::ENOSPC => "a limit in /proc/sys/user is reached: raise it, or stop \
                          other containers"
            .to_owned(),
        Errno::EAGAIN => {
            "a limit on the number of processes is reached: the user's limit \
             (ulimit -u), pids.max of the cgroup, or kernel.pid_max"
                .to_owned()
        }
        // Only the cgroup in which the child starts causes these errors.
        Errno::EACCES => NOT_DELEGATED.to_owned(),
        Errno::EOPNOTSUPP | Errno::EBUSY => INVALID_GROUP.to_owned(),
        Errno::EINVAL => {
            "this kernel does not support one of these namespaces: see \
                          ls /proc/self/ns"
                .to_owned()
        }
        _ => return None,
    };
    Some(text)
}

/// The reason that an ordinary user gets no user namespace on this machine.
fn no_user_namespace() -> String {
    let read = |name: &str| {
        let value = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        value.trim().parse::<u64>().ok()
    };
    if read("user/max_user_namespaces") == Some(0) {
        "user namespaces are disabled (sysctl user.max_user_namespaces is 0)"
    } else if read("kernel/unprivileged_userns_clone") == Some(0) {
        "user namespaces are disabled for ordinary users (sysctl \
         kernel.unprivileged_userns_clone is 0)"
    } else if read("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        "AppArmor denies user namespaces to ordinary users (sysctl \
         kernel.apparmor_restrict_unprivileged_userns is 1)"
    } else {
        "this machine allows no user namespace (inside another container, \
         its seccomp filter usually forbids it)"
    }
    .to_owned()
}

/// The same command line, executed as root by sudo.
fn as_root() -> String {
    let program = env::current_exe().unwrap_or_default().into_os_string();
    let arguments = env::args_os().skip(1);
    let words = std::iter::once(program).chain(arguments);
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    format!("sudo {}", words.collect::<Vec<_>>().join(" "))
}

/// A word, quoted for a shell.
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
