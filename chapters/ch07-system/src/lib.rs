//! A tool for every day: the commands and options that users of Docker and of the
//! earlier systems expect, in addition to those for containers, images and networks.
//!
//! | file | content |
//! |---|---|
//! | `all` | the list of all commands |
//! | `defaults` | default values of options: Docker's, or bocker's |
//! | `spellings` | additional names of commands and options |
//! | `run` | `run` on a default network, which the first use creates |
//! | `container`, `image`, `system` | the commands of Docker's groups |
//! | `remove`, `init` | `rm` of images, `init DIR` |
//! | `version`, `info`, `inspect` | information about the program, the host, containers and images |
//! | `usage` | disk usage: `system df` |

#![forbid(unsafe_code)]

mod all;
mod container;
mod defaults;
mod image;
mod info;
mod init;
mod inspect;
mod missing;
mod remove;
mod run;
mod spellings;
mod system;
mod usage;
mod version;

pub use all::Commands;
pub use container::ContainerCommands;
pub use defaults::{Defaults, Options};
pub use image::ImageCommands;
pub use info::Info;
pub use init::Init;
pub use inspect::Inspect;
pub use remove::Rm;
pub use run::Run;
pub use spellings::spellings;
pub use system::SystemCommands;
pub use version::Version;

/// The description of the command line, with the additional names and the default
/// values.
///
/// # Errors
/// An environment variable or an option of bocker's defaults has an invalid value;
/// the command exists only in Docker.
pub fn command_line(command: clap::Command) -> anyhow::Result<clap::Command> {
    missing::refuse(&defaults::command_of_this_process())?;
    let command = missing::options(spellings(command));
    Ok(Defaults::of_this_process()?.apply(command))
}
