//! The kinds of namespaces that Linux has.

use ch02_user::{Map, User};
use clap::Args;
use nix::sched::CloneFlags;

/// A kind of namespace.
///
/// # Source
/// namespaces(7)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The name of its file in /proc/PID/ns.
    pub file: &'static str,
    /// The flag of clone(2), unshare(2) and setns(2).
    pub flag: CloneFlags,
    /// The flag's name.
    pub flag_name: &'static str,
    /// The first Linux version that has it.
    pub since: &'static str,
    /// The resource that it isolates.
    pub isolates: &'static str,
}

/// CLONE_NEWTIME, which nix lacks: in the flags of clone(2) this bit belongs to the
/// exit signal. clone3(2), unshare(2) and setns(2) accept it.
const NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// All kinds, oldest first.
pub const KINDS: [Kind; 8] = [
    kind("mnt", CloneFlags::CLONE_NEWNS, "CLONE_NEWNS", "2.4.19", "mounts"),
    kind("uts", CloneFlags::CLONE_NEWUTS, "CLONE_NEWUTS", "2.6.19", "hostname"),
    kind("ipc", CloneFlags::CLONE_NEWIPC, "CLONE_NEWIPC", "2.6.19", "queues"),
    kind("pid", CloneFlags::CLONE_NEWPID, "CLONE_NEWPID", "2.6.24", "process IDs"),
    kind("net", CloneFlags::CLONE_NEWNET, "CLONE_NEWNET", "2.6.24", "network"),
    kind("user", CloneFlags::CLONE_NEWUSER, "CLONE_NEWUSER", "3.8", "users, rights"),
    kind("cgroup", CloneFlags::CLONE_NEWCGROUP, "CLONE_NEWCGROUP", "4.6", "cgroups"),
    kind("time", NEWTIME, "CLONE_NEWTIME", "5.6", "clocks since boot"),
];

const fn kind(
    file: &'static str,
    flag: CloneFlags,
    flag_name: &'static str,
    since: &'static str,
    isolates: &'static str,
) -> Kind {
    Kind { file, flag, flag_name, since, isolates }
}

/// The flags that select kinds of namespaces.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(skip)]
pub struct Choice {
    /// Hostname and NIS domain name
    #[arg(long)]
    uts: bool,

    /// System V IPC objects and POSIX message queues
    #[arg(long)]
    ipc: bool,

    /// Process IDs
    #[arg(long)]
    pid: bool,

    /// Mount table
    #[arg(long)]
    mount: bool,

    /// Users, groups and capabilities
    #[arg(long)]
    user: bool,

    /// Interfaces, addresses, routes, ports
    #[arg(long)]
    net: bool,

    /// Root of the cgroup tree that processes see
    #[arg(long)]
    cgroup: bool,

    /// Clocks that count since boot
    #[arg(long)]
    time: bool,
}

impl Choice {
    /// The selected kinds.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        let chosen = |kind: &Kind| match kind.file {
            "mnt" => self.mount,
            "uts" => self.uts,
            "ipc" => self.ipc,
            "pid" => self.pid,
            "net" => self.net,
            "user" => self.user,
            "cgroup" => self.cgroup,
            _ => self.time,
        };
        KINDS.into_iter().filter(chosen).collect()
    }
}

impl Choice {
    /// The part that creates the user namespace and writes its maps. It does so if
    /// `--user` was given, or if the caller needs a user namespace to create the
    /// others.
    #[must_use]
    pub fn user(&self) -> User {
        if self.user { User::new(Map::Root) } else { User::if_needed() }
    }
}

/// The flags of all these kinds, combined.
pub(crate) fn flags(kinds: &[Kind]) -> CloneFlags {
    kinds.iter().fold(CloneFlags::empty(), |flags, kind| flags | kind.flag)
}

/// The names of these flags, for error texts.
pub(crate) fn names(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.flag_name).collect::<Vec<_>>().join("|")
}

/// Whether one of these kinds applies only to children that are created afterwards.
///
/// # Source
/// pid_namespaces(7), "setns(2) and unshare(2) semantics"; time_namespaces(7)
pub(crate) fn for_children(kinds: &[Kind]) -> bool {
    kinds.iter().any(|kind| matches!(kind.file, "pid" | "time"))
}
