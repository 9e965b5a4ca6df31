//! `-u`: run the program as another user.

use anyhow::{Context, Result};
use common::{Credentials, ParentLink, Part, Plan};

use crate::UserSpec;

/// The program's user, groups and home. This part looks them up inside the
/// container; the engine changes the credentials, and gives the streams to the user,
/// when it seals the program.
///
/// # Source
/// credentials(7), setuid(2)
#[derive(Debug)]
pub struct AsUser {
    user: Option<UserSpec>,
}

impl AsUser {
    /// Create the part for this user. `None` means the user of the image, or root if
    /// the image names none.
    #[must_use]
    pub fn new(user: Option<UserSpec>) -> AsUser {
        AsUser { user }
    }
}

// ANCHOR: part
impl Part for AsUser {
    fn name(&self) -> &'static str {
        "as-user"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        if self.user.is_none()
            && let Some(user) = &plan.image_user
        {
            let user = user.parse().context("the user that the image names");
            self.user = Some(user?);
        }
        plan.user = self.user.as_ref().map(UserSpec::to_string);
        Ok(())
    }

    fn enter(&self, plan: &Plan, link: &ParentLink) -> Result<()> {
        let Some(user) = &self.user else { return Ok(()) };
        let identity = user.find()?;
        // Set HOME, unless -e or the image sets it.
        if !plan.home_is_set {
            link.set("HOME", &identity.home);
        }
        link.seal().credentials = Some(Credentials {
            user: identity.user,
            group: identity.group,
            groups: identity.groups,
        });
        Ok(())
    }
}
// ANCHOR_END: part
