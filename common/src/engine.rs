//! The engine: the parts of a container, and the order in which their hooks run.

pub(crate) mod background;
pub(crate) mod byte_copy;
pub(crate) mod composite;
pub(crate) mod container;
mod detach;
mod lifecycle;
pub(crate) mod part;
pub(crate) mod plan;
pub(crate) mod poll_loop;
pub(crate) mod relay;
mod seal;
mod streams;
mod to_exec;
