//! The user namespace: root inside, an ordinary user outside.

#![forbid(unsafe_code)]

mod single;

use std::fs;
use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result, bail};
use common::step::Step;
use common::{Birth, Lifetime, Part, Plan, Users, rights};
use nix::sched::CloneFlags;
use nix::unistd::{Pid, getgid, getuid};

pub use single::Outside;

/// A user namespace around the process, and the map that says who is who.
///
/// # Source
/// user_namespaces(7)
#[derive(Debug)]
pub struct User {
    map: Map,
}

/// Which users exist inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// No user namespace: the caller may do without.
    NotNeeded,
    /// Nobody: everyone is 65534, the overflow uid.
    Nobody,
    /// Root, who is the caller outside.
    Root,
    /// Root, and the range that /etc/subuid and /etc/subgid give to the caller.
    Range,
}

impl User {
    /// A user namespace with this map.
    #[must_use]
    pub fn new(map: Map) -> User {
        User { map }
    }

    /// Root's rights for who hasn't got them: every chapter's list begins with
    /// this part, and it stays out of the way of a caller who is root.
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
            let line = format!(
                "not root: in a user namespace of its own (ch02-user){kept}"
            );
            // The line is a courtesy; a closed stderr is no reason not to run.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        Ok(())
    }

    fn birth(&self, birth: &mut Birth) {
        if self.map != Map::NotNeeded {
            birth.namespaces |= CloneFlags::CLONE_NEWUSER;
        }
    }

    // ANCHOR: attach
    /// The maps are written from outside, while the child is held: inside, nobody
    /// is anybody yet.
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

/// Whether the caller has a range of subordinate ids, and the tools to use it.
#[must_use]
pub fn has_range() -> bool {
    let lists = ["/etc/subuid", "/etc/subgid"];
    let paths: Vec<_> = std::env::split_paths(common::PATH).collect();
    let there =
        |tool| paths.iter().any(|dir: &std::path::PathBuf| dir.join(tool).exists());
    // newuidmap(1) works for accounts only, not for bare numbers.
    account(&getuid().to_string()).is_some()
        && lists.iter().all(|list| range(list).is_ok())
        && there("newuidmap")
        && there("newgidmap")
}

/// One id is the caller's own to map; more are the administrator's to give, and
/// only the setuid tools may write them.
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
        bail!("{line}: {} (--single does without a range)", reason.trim());
    }
    Ok(())
}

fn range(list: &str) -> Result<(u32, u32)> {
    let uid = getuid().to_string();
    let text = fs::read_to_string(list).step(|| format!("read(2) {list}"))?;
    find_range(&text, &uid, account(&uid).as_deref())
        .with_context(|| format!("{list} gives no range to uid {uid}"))
}

/// The name of the account with this uid.
///
/// Not by getpwuid(3): a static program would load the host's NSS libraries into
/// itself, which were made for another libc, and crash in them.
///
/// # Source
/// passwd(5)
fn account(uid: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(uid))?;
    line.split(':').next().map(str::to_owned)
}

/// `NAME-OR-UID:FIRST:COUNT`, the first line that is ours.
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
