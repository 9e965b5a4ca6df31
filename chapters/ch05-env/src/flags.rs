//! The options for the program's environment, working directory and user.

use std::path::PathBuf;

use clap::Args;

use crate::Who;

/// Flags of the program's surroundings.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Flags {
    #[command(flatten)]
    pub(crate) variables: ch05_exec::Variables,

    /// A file of variables, KEY=VALUE a line; -e comes after it
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,

    /// The working directory, made if it isn't there
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// As whom: names or numbers, by the container's /etc/passwd and /etc/group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<Who>,
}
