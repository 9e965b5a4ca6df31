//! `-u`: another user than root.

use std::ffi::OsStr;

use anyhow::Result;
use common::step::{Hint, Step};
use common::{Part, Plan, Up};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, fchown, isatty, setgid, setgroups, setuid};

use crate::Who;

/// The program's user, groups and home. Whatever takes root's rights is done before.
///
/// # Source
/// credentials(7), setuid(2)
#[derive(Debug)]
pub struct AsUser {
    who: Option<Who>,
}

impl AsUser {
    /// As this one; as root where nobody is named.
    #[must_use]
    pub fn new(who: Option<Who>) -> AsUser {
        AsUser { who }
    }
}

// ANCHOR: part
impl Part for AsUser {
    fn name(&self) -> &'static str {
        "as-user"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        plan.user = self.who.as_ref().map(Who::to_string);
        Ok(())
    }

    fn enter(&self, plan: &Plan, up: &Up) -> Result<()> {
        let Some(who) = &self.who else { return Ok(()) };
        let identity = who.find()?;
        // Unless -e says another than root's.
        if plan
            .environment
            .get(OsStr::new("HOME"))
            .is_none_or(|home| home == "/root")
        {
            up.set("HOME", &identity.home);
        }
        let (user, group) =
            (Uid::from_raw(identity.user), Gid::from_raw(identity.group));
        if plan.own_session {
            give_terminal(user)?;
        }
        let groups: Vec<Gid> =
            identity.groups.into_iter().map(Gid::from_raw).collect();
        match setgroups(&groups) {
            // Denied for good in an ordinary user's container.
            Err(Errno::EPERM) if plan.user_namespace => {}
            set => set.step(|| format!("setgroups(2) {groups:?}")).hint(why)?,
        }
        setgid(group).step(|| format!("setgid(2) {group}")).hint(why)?;
        // With root's number go root's rights.
        setuid(user).step(|| format!("setuid(2) {user}")).hint(why)
    }
}
// ANCHOR_END: part

/// So that the program may open its own terminal again, by /dev/stdout for one.
fn give_terminal(user: Uid) -> Result<()> {
    let stdin = std::io::stdin();
    if isatty(&stdin).unwrap_or(false) {
        fchown(&stdin, Some(user), None)
            .step(|| format!("fchown(2) 0 to {user}"))?;
    }
    Ok(())
}

fn why(errno: Errno) -> Option<String> {
    (errno == Errno::EINVAL).then(|| {
        "an ordinary user's container has no user but root: as root it has all"
            .to_owned()
    })
}
