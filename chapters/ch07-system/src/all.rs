//! The commands up to this chapter.

use ch04_image::{Images, Rmi};
use ch04_save::{History, Load, Save, Tag};
use ch04_tar::{Commit, Export, Import};
use ch05_attach::Attach;
use ch05_env::Exec;
use ch05_logs::Logs;
use ch05_ps::Ps;
use ch05_rm::Prune;
use ch05_stop::StopCommands;
use ch06_connect::commands::NetworkCommands;
use ch06_ports::Port;
use ch07_pull::{Pull, Push};
use ch07_registry::{Login, Logout, ShowManifest};

use crate::{
    ContainerCommands, ImageCommands, Info, Init, Inspect, Rm, Run, SystemCommands,
    Version,
};

common::commands! {
    /// All commands.
    #[derive(Debug)]
    pub enum Commands {
        /// Run a program in a container of an image
        Run(Box<Run>),
        /// Run another program in a running container
        Exec(Exec),
        /// Attach to a detached container
        Attach(Attach),
        /// List running containers
        Ps(Ps),
        /// Show the output of a container
        Logs(Logs),
        /// Show the published ports of a container
        Port(Port),
        /// Print all properties of containers and images as JSON
        Inspect(Inspect),
        /// `stop`, `kill` and `wait`.
        #[command(flatten)]
        StopCommands(StopCommands),
        /// Remove containers that have ended
        Rm(Rm),
        /// Remove all containers that have ended, and files that killed processes left
        Prune(Prune),
        /// List the images
        Images(Images),
        /// Download an image from a registry
        Pull(Pull),
        /// Upload an image to a registry
        Push(Push),
        /// Log in to a registry
        Login(Login),
        /// Log out of a registry
        Logout(Logout),
        /// Print the manifest of an image in a registry
        Manifest(ShowManifest),
        /// Create an image from a directory, and print its name
        Init(Init),
        /// Create an image or a tar archive from a container
        Commit(Commit),
        /// Write a container's filesystem to a tar archive
        Export(Export),
        /// Create an image from a tar archive or a directory
        Import(Import),
        /// Write images, with all their layers, as an archive
        Save(Save),
        /// Add the images of an archive
        Load(Load),
        /// Give an image an additional name
        Tag(Tag),
        /// Show how the layers of an image were made
        History(History),
        /// Remove images that no container uses
        Rmi(Rmi),
        /// Manage containers
        #[command(subcommand)]
        Container(Box<ContainerCommands>),
        /// Manage images
        #[command(subcommand)]
        Image(ImageCommands),
        /// Manage networks
        #[command(subcommand)]
        Network(NetworkCommands),
        /// Create, change and remove cgroups
        #[command(subcommand)]
        Cgroup(ch02_cgroups::Commands),
        /// Create, leave, join and hold namespaces
        #[command(subcommand)]
        Namespace(ch02_setns::commands::NamespaceCommands),
        /// Change network devices, addresses and routes
        #[command(subcommand)]
        Device(ch02_net::Devices),
        /// Create, list and remove message queues, semaphores and shared memory
        #[command(subcommand)]
        Ipc(ch02_ipc::commands::Objects),
        /// Show disk usage and settings, and remove unused data
        #[command(subcommand)]
        System(SystemCommands),
        /// Show the containers, images and settings of this host
        Info(Info),
        /// Print the version of this program and of the kernel
        Version(Version),
    }
}
