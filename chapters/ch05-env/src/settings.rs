//! The environment and the working directory.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Result, bail};
use common::step::Step;
use common::{ParentLink, Part, Plan};

use crate::env_file;
use crate::flags::Flags;

/// The part that sets the program's environment variables and its working directory.
#[derive(Debug)]
pub struct Settings {
    flags: Flags,
}

impl Settings {
    /// Create the part from these flags.
    #[must_use]
    pub fn new(flags: Flags) -> Settings {
        Settings { flags }
    }
}

// ANCHOR: part
impl Part for Settings {
    fn name(&self) -> &'static str {
        "settings"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        plan.set_variables(|environment| {
            for file in &self.flags.env_file {
                env_file::put(file, environment)?;
            }
            self.flags.variables.put(environment);
            Ok(())
        })?;
        if let Some(directory) = &self.flags.directory {
            if !directory.is_absolute() {
                let shown = directory.display();
                bail!(
                    "the working directory {shown} must be absolute: use /{shown}"
                );
            }
            plan.directory = directory.clone();
        }
        Ok(())
    }

    fn enter(&self, _plan: &Plan, _link: &ParentLink) -> Result<()> {
        // The root is the container's at this moment, so a symlink cannot lead
        // outside.
        self.flags.directory.as_deref().map_or(Ok(()), make)
    }
}
// ANCHOR_END: part

fn make(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .step(|| format!("mkdir(2) {}", directory.display()))
}
