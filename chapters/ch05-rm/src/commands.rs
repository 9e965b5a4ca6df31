//! The commands that remove.

use std::io::Write;

use anyhow::{Result, ensure};
use ch05_stop::{Target, kill};
use clap::{Args, Subcommand};
use common::state::State;
use common::step;

use crate::undo::Undo;
use crate::{prune, rm};

/// The commands that remove.
#[derive(Debug, Subcommand)]
pub enum Removal {
    /// Remove containers that have ended
    Rm(Rm),
    /// Remove all containers that have ended, and what killed ones left
    Prune,
}

/// Which.
#[derive(Args, Debug)]
pub struct Rm {
    /// Kill those that run first
    #[arg(short, long)]
    force: bool,

    /// Their names, their ids, or what only those begin with
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Removal {
    /// Do it; `known` undoes what killed host sides left, as [`crate::UNDO`].
    ///
    /// # Errors
    /// What went wrong with some, when all are done with.
    pub fn act(self, state: &State, known: &[Undo]) -> Result<()> {
        let (removed, errors) = match self {
            Removal::Rm(it) => it.act(state, known),
            Removal::Prune => prune(state, known)?,
        };
        for name in removed {
            // A reader who went away has seen enough.
            let _ = writeln!(std::io::stdout(), "{name}");
        }
        let errors: Vec<String> = errors.iter().map(step::report).collect();
        ensure!(errors.is_empty(), "{}", errors.join("\nand: "));
        Ok(())
    }
}

impl Rm {
    fn act(
        self,
        state: &State,
        known: &[Undo],
    ) -> (Vec<String>, Vec<anyhow::Error>) {
        let mut removed = Vec::new();
        let mut errors = Vec::new();
        let found = self.containers.iter().map(|word| Target::find(state, word));
        let found: Vec<_> = found.collect();
        if self.force {
            // All at once, and each is waited for afterwards. What fails is told there.
            for target in found.iter().flatten() {
                let _ = kill(target);
            }
        }
        for (target, word) in found.into_iter().zip(self.containers) {
            match target.and_then(|target| rm(state, target, self.force, known)) {
                Ok(()) => removed.push(word),
                Err(error) => errors.push(error),
            }
        }
        (removed, errors)
    }
}
