//! `run`: clone(2), the first of the three calls.

use anyhow::Result;
use ch02_mount::Mount;
use common::{CloneArgs, ParentLink, Part, Plan};

use crate::kind::{Kind, flags};

/// The part that creates the new process in new namespaces of these kinds.
#[derive(Debug)]
pub struct Namespaces(pub Vec<Kind>);

// ANCHOR: part
impl Part for Namespaces {
    fn name(&self) -> &'static str {
        "namespaces"
    }

    fn clone_args(&self, args: &mut CloneArgs) {
        args.namespaces |= flags(&self.0);
    }

    fn enter(&self, plan: &Plan, link: &ParentLink) -> Result<()> {
        match self.0.iter().any(|kind| kind.file == "mnt") {
            true => Mount.enter(plan, link),
            false => Ok(()),
        }
    }
}
// ANCHOR_END: part
