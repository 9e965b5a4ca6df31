//! The kinds of namespaces that Linux has.

use ch02_user::{Map, User};
use clap::Args;
use nix::sched::CloneFlags;

/// One kind.
///
/// # Source
/// namespaces(7)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its file below /proc/PID/ns.
    pub file: &'static str,
    /// The flag of clone(2), unshare(2) and setns(2).
    pub flag: CloneFlags,
    /// The flag's name.
    pub flag_name: &'static str,
    /// The Linux version that brought it.
    pub since: &'static str,
    /// What it sets apart.
    pub isolates: &'static str,
}

/// Not in nix: in clone(2)'s flags this bit belongs to the exit signal. clone3(2),
/// unshare(2) and setns(2) take it.
const NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// All kinds, the oldest first.
pub const KINDS: [Kind; 8] = [
    kind("mnt", CloneFlags::CLONE_NEWNS, "CLONE_NEWNS", "2.4.19", "mounts"),
    kind("uts", CloneFlags::CLONE_NEWUTS, "CLONE_NEWUTS", "2.6.19", "host name"),
    kind("ipc", CloneFlags::CLONE_NEWIPC, "CLONE_NEWIPC", "2.6.19", "queues"),
    kind("pid", CloneFlags::CLONE_NEWPID, "CLONE_NEWPID", "2.6.24", "process ids"),
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

/// Which kinds are meant.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(skip)]
pub struct Choice {
    /// Host name and domain name
    #[arg(long)]
    uts: bool,

    /// System V objects and POSIX queues
    #[arg(long)]
    ipc: bool,

    /// Process ids
    #[arg(long)]
    pid: bool,

    /// The mount table
    #[arg(long)]
    mount: bool,

    /// Users, groups and rights
    #[arg(long)]
    user: bool,

    /// Interfaces, addresses, routes, ports
    #[arg(long)]
    net: bool,

    /// The cgroup that counts as the root
    #[arg(long)]
    cgroup: bool,

    /// The clocks that count since boot
    #[arg(long)]
    time: bool,
}

impl Choice {
    /// The kinds that were chosen.
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
    /// The user namespace's part, which writes the maps too: where it was chosen,
    /// and where the others are not to be had without.
    #[must_use]
    pub fn user(&self) -> User {
        if self.user { User::new(Map::Root) } else { User::if_needed() }
    }
}

/// The flags of several kinds, together.
pub(crate) fn flags(kinds: &[Kind]) -> CloneFlags {
    kinds.iter().fold(CloneFlags::empty(), |flags, kind| flags | kind.flag)
}

/// The flags' names, for errors.
pub(crate) fn names(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.flag_name).collect::<Vec<_>>().join("|")
}

/// Whether only children of this process come into one of them.
///
/// # Source
/// pid_namespaces(7), "setns(2) and unshare(2) semantics"; time_namespaces(7)
pub(crate) fn for_children(kinds: &[Kind]) -> bool {
    kinds.iter().any(|kind| matches!(kind.file, "pid" | "time"))
}
