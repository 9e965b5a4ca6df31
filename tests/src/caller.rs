//! The user as whom a test executes the chapters.

use std::path::PathBuf;
use std::process::Command;

use crate::Lab;

/// Root, or an ordinary user. A test of both is a loop over [`Caller::BOTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The host's root.
    Root,
    /// An ordinary user with a home directory.
    User,
}

impl Caller {
    /// Both.
    pub const BOTH: [Caller; 2] = [Caller::Root, Caller::User];

    /// A command that executes a chapter's binary: [`Lab::chapter`] or
    /// [`Lab::as_user`].
    #[must_use]
    pub fn chapter(self, lab: &Lab, name: &str) -> assert_cmd::Command {
        match self {
            Caller::Root => lab.chapter(name),
            Caller::User => lab.as_user(name),
        }
    }

    /// The same, but a command of the standard library: [`Lab::command`] or
    /// [`Lab::user_command`].
    #[must_use]
    pub fn command(self, lab: &Lab, name: &str) -> Command {
        match self {
            Caller::Root => lab.command(&[], name),
            Caller::User => lab.user_command(name),
        }
    }

    /// This user's state directory.
    #[must_use]
    pub fn state(self, lab: &Lab) -> PathBuf {
        match self {
            Caller::Root => lab.state(),
            Caller::User => lab.user_state(),
        }
    }
}
