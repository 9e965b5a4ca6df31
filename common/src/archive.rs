//! Tar archives: written, read from untrusted sources, and unpacked below one directory.
//!
//! A reader that skips a keyword or an entry type that it does not know can produce
//! different files than the archive describes, and report success. This reader honours
//! a keyword, or knows that it does not change the files, or refuses the archive.

mod base64;
#[cfg(test)]
mod corpus_tests;
mod escape;
mod header;
mod layer;
#[cfg(test)]
mod layer_tests;
mod member;
mod metadata;
mod pack;
mod pax;
mod sparse;
#[cfg(test)]
mod tests;
mod unpack;
mod whiteout;

pub use layer::{OPAQUE_ATTRIBUTES, pack_layer};
pub use metadata::Keep;
pub use pack::Packer;
pub use unpack::{unpack_file, unpack_stream};
