//! Images by name: made of containers and of tars, listed, removed; and what is
//! known of a container after its end.

#![forbid(unsafe_code)]

mod commands;
mod commit;
mod from_image;
mod images;
mod import;
mod layer;
mod merged;
mod pack;
mod record;
mod run;
mod squeeze;
mod store;

pub use commands::{Images, Rm};
pub use commit::{commit, export};
pub use from_image::{FromImage, Words};
pub use images::{Flags as ListFlags, age, list, size};
pub use import::import;
pub use record::{NOTE, Record, Recorded, Status};
pub use run::Run;
pub use store::{Hold, Store};
