//! The options for the program's environment, working directory and user.

use std::path::PathBuf;

use clap::Args;

use crate::UserSpec;

/// Flags for the program's environment, working directory and user.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Flags {
    #[command(flatten)]
    pub(crate) variables: ch05_exec::Variables,

    /// File with one variable KEY=VALUE on each line; -e overrides it
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,

    /// Working directory; it is created if it does not exist
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// User, and optionally group: names or numbers from the container's /etc/passwd
    /// and /etc/group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<UserSpec>,
}
