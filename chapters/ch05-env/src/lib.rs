//! As whom, where and in which environment a container's program runs, and a way back
//! to it.

#![forbid(unsafe_code)]

mod accounts;
mod as_user;
mod attach;
mod attachable;
mod env_file;
mod exec;
mod flags;
mod init;
mod keys;
mod read_only;
mod settings;

pub use accounts::Who;
pub use as_user::AsUser;
pub use attach::Attach;
pub use attachable::{Attachable, close_door};
pub use exec::Exec;
pub use flags::{Flags, Run};
pub use init::Init;
pub use keys::Keys;
pub use read_only::ReadOnly;
pub use settings::Settings;
