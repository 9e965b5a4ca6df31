//! A directory tree as the container's root.

use std::path::PathBuf;

use anyhow::Result;
use common::step::Step;
use common::{Part, Plan, Root, Up};
use nix::mount::{MsFlags, mount};

/// A directory of the host that becomes the container's `/` as it is: what the
/// container writes, stays in it. The next chapter mends that.
#[derive(Debug)]
pub struct Tree {
    directory: PathBuf,
}

impl Tree {
    /// This directory.
    #[must_use]
    pub fn new(directory: PathBuf) -> Tree {
        Tree { directory }
    }
}

/// From here on the container has the root at `root`, its own working directory
/// and its own home.
pub fn adopt(plan: &mut Plan, root: PathBuf) {
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
        adopt(plan, self.directory.clone());
        Ok(())
    }

    fn enter(&self, _plan: &Plan, _up: &Up) -> Result<()> {
        // pivot_root(2) takes nothing but a mount as the new root. A directory
        // bound on itself is one.
        let directory = &self.directory;
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(directory), directory, None::<&str>, bind, None::<&str>)
            .step(|| format!("mount(2) bind {} on itself", directory.display()))
    }
}
// ANCHOR_END: part
