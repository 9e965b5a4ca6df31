//! Attach to a detached container.

#![forbid(unsafe_code)]

mod attach;
mod attachable;
mod keys;
mod run;

use common::state::{Table, Undo};

pub use attach::Attach;
pub use attachable::{Attachable, remove_socket};
pub use keys::Keys;
pub use run::Run;

/// The clean-up rows of this chapter.
pub const ROWS: &[Undo] = &[Undo { kind: attachable::NOTE, undo: remove_socket }];

/// The clean-up table of the chapters up to this one.
pub const UNDO: Table = &[ch03_limits::UNDO, ROWS];
