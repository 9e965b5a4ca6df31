//! The user, the working directory and the environment of a container's program.

#![forbid(unsafe_code)]

mod accounts;
mod as_user;
mod env_file;
mod environment_flags;
mod exec;
mod flags;
mod read_only;
mod run;
mod settings;

pub use accounts::UserSpec;
pub use as_user::AsUser;
pub use environment_flags::EnvironmentFlags;
pub use exec::Exec;
pub use flags::Flags;
pub use read_only::ReadOnly;
pub use run::Run;
pub use settings::Settings;
