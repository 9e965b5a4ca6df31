//! `-u`: another user than root.

use std::ffi::OsStr;

use anyhow::Result;
use common::step::Step;
use common::{Credentials, Part, Plan, Session, Up};
use nix::unistd::{Uid, fchown, isatty};

use crate::Who;

/// The program's user, groups and home. This part looks them up inside the container;
/// the engine changes the credentials when it seals the program.
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
        if plan.session == Session::Own {
            give_terminal(Uid::from_raw(identity.user))?;
        }
        up.seal().credentials = Some(Credentials {
            user: identity.user,
            group: identity.group,
            groups: identity.groups,
        });
        Ok(())
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
