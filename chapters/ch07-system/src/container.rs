//! `container`: the commands about containers, as a group.

use ch04_tar::{Commit, Export};
use ch05_attach::Attach;
use ch05_env::Exec;
use ch05_logs::Logs;
use ch05_ps::Ps;
use ch05_rm::Prune;
use ch05_stop::StopCommands;
use ch06_ports::Port;

use crate::{Inspect, Run};

common::commands! {
    /// Manage containers
    #[derive(Debug)]
    pub enum ContainerCommands {
        /// List running containers
        #[command(visible_aliases = ["list", "ps"])]
        Ls(Ps),
        /// Run a program in a container of an image
        Run(Box<Run>),
        /// Run another program in a running container
        Exec(Exec),
        /// Attach to a detached container
        Attach(Attach),
        /// Show the output of a container
        Logs(Logs),
        /// Print all properties of containers as JSON
        Inspect(Inspect),
        /// Show the published ports of a container
        Port(Port),
        /// `stop`, `kill` and `wait`.
        #[command(flatten)]
        StopCommands(StopCommands),
        /// Create an image or a tar archive from a container
        Commit(Commit),
        /// Write a container's filesystem to a tar archive
        Export(Export),
        /// Remove containers that have ended
        #[command(visible_alias = "remove")]
        Rm(ch05_rm::Rm),
        /// Remove all containers that have ended, and files that killed processes left
        Prune(Prune),
    }
}
