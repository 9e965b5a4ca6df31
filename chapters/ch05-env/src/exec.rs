//! `exec`, as the container's user or as another user.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use common::cli::{Context, Execute};
use common::{Exit, SafeBinary};

use crate::env_file;
use crate::{AsUser, UserSpec};

/// Run another program in a running container
#[derive(Args, Debug)]
#[group(skip)]
pub struct Exec {
    /// File with one variable KEY=VALUE on each line; -e overrides it
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// User, and optionally group: names or numbers from the container's /etc/passwd
    /// and /etc/group [default: the container's user]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<UserSpec>,

    #[command(flatten)]
    exec: ch05_exec::Exec,
}

impl Execute for Exec {
    fn execute(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
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
        exec.execute_in(state, record, binary, |container| {
            container.part(AsUser::new(user))
        })
    }
}
