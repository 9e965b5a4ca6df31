//! What makes processes, and what all chapters share.

pub mod image;
pub mod rights;
pub mod state;
pub mod step;
