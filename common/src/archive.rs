//! Tar archives from untrusted sources: read, and unpacked below one directory.
//!
//! A reader that skips a keyword or an entry type that it does not know can produce
//! different files than the archive describes, and report success. This reader honours
//! a keyword, or knows that it does not change the files, or refuses the archive.

mod base64;
mod escape;
mod header;
mod member;
mod metadata;
mod pax;
mod sparse;
#[cfg(test)]
mod tests;
mod unpack;

pub use metadata::Keep;
pub use unpack::{unpack_file, unpack_stream};
