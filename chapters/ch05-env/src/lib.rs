//! As whom, where and in which environment a container's program runs.

#![forbid(unsafe_code)]

mod accounts;
mod as_user;
mod env_file;
mod exec;
mod flags;
mod init;
mod read_only;
mod settings;

pub use accounts::Who;
pub use as_user::AsUser;
pub use exec::Exec;
pub use flags::{Flags, Run};
pub use init::Init;
pub use read_only::ReadOnly;
pub use settings::Settings;
