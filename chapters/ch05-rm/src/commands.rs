//! The commands that remove containers.

use anyhow::{Error, Result};
use ch05_stop::{Target, kill};
use clap::Args;
use common::cli::{Context, Execute};
use common::{Exit, output};

use crate::{prune, rm};

common::commands! {
    /// The commands that remove.
    #[derive(Debug)]
    pub enum RemoveCommands {
        /// Remove containers that have ended
        Rm(Rm),
        /// Remove all containers that have ended, and files that killed processes
        /// left
        Prune(Prune),
    }
}

/// Remove containers that have ended
#[derive(Args, Debug)]
#[group(skip)]
pub struct Rm {
    /// Kill running containers first
    #[arg(short, long)]
    pub force: bool,

    /// Accepted for compatibility with Docker: a container's own volumes are always
    /// removed with it
    #[arg(short = 'v', long)]
    pub volumes: bool,

    /// The names of the containers, their IDs, or unique ID prefixes
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Remove all containers that have ended, and files that killed processes left
#[derive(Args, Debug)]
pub struct Prune {}

impl Execute for Rm {
    fn execute(self, context: &Context) -> Result<Exit> {
        let mut removed = Vec::new();
        let mut errors = Vec::new();
        let mut found = Vec::new();
        for word in self.containers {
            match word.parse().map(|name| context.state.remove_stale(&name)) {
                // There was a name, and no container.
                Ok(Ok(true)) => removed.push(word),
                Ok(Err(error)) => errors.push(error),
                _ => found.push((Target::find(&context.state, &word), word)),
            }
        }
        if self.force {
            // Kill all containers first, and wait for each of them below. An error
            // is reported there.
            for (target, _) in &found {
                let Ok(target) = target else { continue };
                let _ = kill(target);
            }
        }
        for (target, word) in found {
            match target.and_then(|target| rm(context, target, self.force)) {
                Ok(()) => removed.push(word),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(context.state.sweep_dead(context.undo).err());
        tell(&removed, errors)
    }
}

impl Execute for Prune {
    fn execute(self, context: &Context) -> Result<Exit> {
        let (removed, errors) = prune(context)?;
        tell(&removed, errors)
    }
}

fn tell(removed: &[String], errors: Vec<Error>) -> Result<Exit> {
    output::report(&output::lines(removed), errors)
}
