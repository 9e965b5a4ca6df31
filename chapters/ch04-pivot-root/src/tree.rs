//! Use a directory tree as the container's root.

use std::path::PathBuf;

use anyhow::Result;
use common::step::Step;
use common::{ParentLink, Part, Plan, Root};
use nix::mount::{MsFlags, mount};

/// The part that uses a directory of the host as the container's `/`, without a
/// write layer. Writes of the container change this directory; the next chapter
/// fixes this.
#[derive(Debug)]
pub struct Tree {
    directory: PathBuf,
}

impl Tree {
    /// Create the part for this directory.
    #[must_use]
    pub fn new(directory: PathBuf) -> Tree {
        Tree { directory }
    }
}

/// Set the container's root to `root`, its working directory to `/`, and HOME to
/// `/root`.
pub fn set_root(plan: &mut Plan, root: PathBuf) {
    plan.root = Root::Assembled(root);
    plan.directory = "/".into();
    plan.environment.insert("HOME".into(), "/root".into());
}

// ANCHOR: part
impl Part for Tree {
    fn name(&self) -> &'static str {
        "tree"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        set_root(plan, self.directory.clone());
        Ok(())
    }

    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        // The new root of pivot_root(2) must be a mount point. A bind mount of the
        // directory on itself creates one.
        let directory = &self.directory;
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(directory), directory, None::<&str>, bind, None::<&str>)
            .step(|| format!("mount(2) bind {} on itself", directory.display()))
    }
}
// ANCHOR_END: part
