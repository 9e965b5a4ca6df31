//! Images as archives: `save` and `load`. Also additional names for an image, and
//! information about its content.

#![forbid(unsafe_code)]

mod add;
mod allowance;
mod archive;
mod commands;
mod history;
mod inspect;
mod legacy;
mod load;
mod prune;
mod save;

pub use add::{Adder, Unpacked};
pub use allowance::Allowance;
pub use commands::{Commands, History, Image, ImageCommands, Load, Save, Tag};
pub use inspect::inspect;
pub use load::load;
pub use prune::prune;
pub use save::save;
