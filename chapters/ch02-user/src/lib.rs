//! The user namespace: root inside, an ordinary user outside.

#![forbid(unsafe_code)]

mod single;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use common::step::{self, Step};
use common::{CloneArgs, Lifetime, Part, Plan, Users, rights};
use nix::sched::CloneFlags;
use nix::unistd::{Pid, getgid, getuid};

pub use single::Outside;

/// A user namespace for the container, with a map from the IDs inside to the IDs
/// outside.
///
/// # Source
/// user_namespaces(7)
#[derive(Debug)]
pub struct User {
    map: Map,
}

/// The IDs that are mapped in the user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// No user namespace is created: the caller has the necessary rights already.
    NotNeeded,
    /// No IDs: every user and group inside is 65534, the overflow ID.
    Nobody,
    /// Only root, which is the caller outside.
    Root,
    /// Root, and the ranges that /etc/subuid and /etc/subgid assign to the caller.
    Range,
}

impl User {
    /// Create the part with this map.
    #[must_use]
    pub fn new(map: Map) -> User {
        User { map }
    }

    /// Create a user namespace only if the caller is not root. Every chapter's list
    /// of parts begins with this part, so that ordinary users can run the chapter
    /// too.
    #[must_use]
    pub fn if_needed() -> User {
        User { map: if rights::privileged() { Map::NotNeeded } else { Map::Root } }
    }
}

impl Part for User {
    fn name(&self) -> &'static str {
        "user"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        if self.map == Map::NotNeeded {
            return Ok(());
        }
        plan.users = Users::Nested;
        if !rights::privileged() {
            let state = plan.home.state.root().display();
            let kept = if plan.lifetime != Lifetime::NoFiles {
                format!(", state in {state}")
            } else {
                String::new()
            };
            step::note(&format!(
                "not root: in a user namespace of its own (ch02-user){kept}"
            ));
        }
        Ok(())
    }

    fn clone_args(&self, args: &mut CloneArgs) {
        if self.map != Map::NotNeeded {
            args.namespaces |= CloneFlags::CLONE_NEWUSER;
        }
    }

    // ANCHOR: attach
    /// The parent writes the maps while the child waits at the barrier. The child
    /// itself may map only its own ID: a range needs rights outside.
    fn attach(&mut self, _plan: &Plan, child: Pid) -> Result<()> {
        match self.map {
            Map::NotNeeded | Map::Nobody => Ok(()),
            Map::Root => Outside::caller().becomes_root_of(child),
            Map::Range => {
                map_range("newgidmap", child, getgid().as_raw(), "/etc/subgid")?;
                map_range("newuidmap", child, getuid().as_raw(), "/etc/subuid")
            }
        }
    }
    // ANCHOR_END: attach
}

/// Whether the caller has a range of subordinate IDs, and the tools to map it.
#[must_use]
pub fn has_range() -> bool {
    let lists = ["/etc/subuid", "/etc/subgid"];
    let paths: Vec<_> = std::env::split_paths(common::PATH).collect();
    let there =
        |tool| paths.iter().any(|dir: &std::path::PathBuf| dir.join(tool).exists());
    // newuidmap(1) requires that the caller's UID has an account.
    account(&getuid().to_string()).is_some()
        && lists.iter().all(|list| range(list).is_ok())
        && there("newuidmap")
        && there("newgidmap")
}

/// Map root to the caller, and the range from `list` to the IDs from 1 on. An
/// ordinary user may map only its own ID. The administrator assigns more IDs, and
/// only the setuid tools newuidmap and newgidmap may map these.
///
/// # Source
/// newuidmap(1), subuid(5)
fn map_range(tool: &str, child: Pid, own: u32, list: &str) -> Result<()> {
    let (first, count) = range(list)?;
    let words = [child.as_raw() as u32, 0, own, 1, 1, first, count];
    let words = words.map(|word| word.to_string());
    let line = format!("{tool} {}", words.join(" "));
    let done = Command::new(tool).args(&words).output().step(|| line.clone())?;
    if !done.status.success() {
        let reason = String::from_utf8_lossy(&done.stderr).into_owned();
        bail!("{line}: {} (--single needs no range)", reason.trim());
    }
    Ok(())
}

fn range(list: &str) -> Result<(u32, u32)> {
    let uid = getuid().to_string();
    let text = fs::read_to_string(list).step(|| format!("read(2) {list}"))?;
    find_range(&text, &uid, account(&uid).as_deref())
        .with_context(|| format!("{list} assigns no range to UID {uid}"))
}

/// The name of the account with this UID.
///
/// This does not call getpwuid(3): in a static program, that function loads the
/// host's NSS libraries, which were built for another libc, and the program crashes.
///
/// # Source
/// passwd(5)
fn account(uid: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(uid))?;
    line.split(':').next().map(str::to_owned)
}

/// Find the first line for this user. A line has the form `NAME-OR-UID:FIRST:COUNT`.
/// Returns FIRST and COUNT.
fn find_range(text: &str, uid: &str, name: Option<&str>) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        if owner != uid && Some(owner) != name {
            return None;
        }
        let first = fields.next()?.trim().parse().ok()?;
        let count = fields.next()?.trim().parse().ok()?;
        Some((first, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_found_by_name_and_by_uid() {
        let text = "root:1:2\nann:100000:65536\n1001:200000:5\n";
        assert_eq!(find_range(text, "1000", Some("ann")), Some((100_000, 65536)));
        assert_eq!(find_range(text, "1001", None), Some((200_000, 5)));
        assert_eq!(find_range(text, "7", Some("bob")), None);
        assert_eq!(find_range("ann:x:1\n", "7", Some("ann")), None);
    }
}
