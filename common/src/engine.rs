//! The engine: the parts of a container, and the order in which their hooks run.

pub(crate) mod container;
mod detach;
pub(crate) mod part;
pub(crate) mod poll_loop;
