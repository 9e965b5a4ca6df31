//! `exec`, as the container's user, or as another.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use common::state::State;
use common::{Exit, SafeBinary};

use crate::env_file;
use crate::{AsUser, Who};

/// What `exec` takes from here on.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Exec {
    /// A file of variables, KEY=VALUE a line; -e comes after it
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// As whom: names or numbers, by the container's /etc/passwd and /etc/group
    /// [default: the container's user]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<Who>,

    #[command(flatten)]
    exec: ch05_exec::Exec,
}

impl Exec {
    /// Run the program in the container.
    ///
    /// # Errors
    /// As [`ch05_exec::Exec::act`].
    pub fn act(self, state: &State) -> Result<Exit> {
        let binary = SafeBinary::exec_self()?;
        let Exec { env_file: files, user, exec } = self;
        let mut record = exec.record(state)?;
        for file in &files {
            env_file::put(file, &mut record.environment)?;
        }
        let user = match (user, &record.user) {
            (None, Some(user)) => Some(user.parse()?),
            (user, _) => user,
        };
        exec.act_in(state, record, binary, |container| {
            container.part(AsUser::new(user))
        })
    }
}
