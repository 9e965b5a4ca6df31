//! `logs`: show the output of a container, while it runs and after its end.

#![forbid(unsafe_code)]

mod all;
mod follow;
mod logs;
mod queries;
mod show;
mod since;
mod tail;

pub use all::Commands;
pub use follow::Follow;
pub use logs::Logs;
pub use since::Since;
