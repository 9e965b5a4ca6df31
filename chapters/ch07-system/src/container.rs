//! `container`: the commands about containers, as a group.

use ch04_tar::{Commit, Export};
use ch05_attach::Attach;
use ch05_env::Exec;
use ch05_logs::Logs;
use ch05_ps::Ps;
use ch05_rm::Prune;
use ch05_stop::Ends;
use ch06_ports::Port;

use crate::{Inspect, Run};

common::commands! {
    /// Manage containers
    #[derive(Debug)]
    pub enum ContainerCommands {
        /// List the containers that run
        #[command(visible_aliases = ["list", "ps"])]
        Ls(Ps),
        /// Run a program in a container of an image
        Run(Box<Run>),
        /// Run another program in a container that runs
        Exec(Exec),
        /// Return to a container in the background
        Attach(Attach),
        /// Show what a container has printed
        Logs(Logs),
        /// Print all properties of containers as JSON
        Inspect(Inspect),
        /// Show the published ports of a container
        Port(Port),
        /// The commands about a container's end.
        #[command(flatten)]
        Ends(Ends),
        /// Make an image, or a tar, of a container
        Commit(Commit),
        /// Write a container's filesystem as a tar
        Export(Export),
        /// Remove containers that have ended
        #[command(visible_alias = "remove")]
        Rm(ch05_rm::Rm),
        /// Remove all containers that have ended, and what killed ones left
        Prune(Prune),
    }
}
