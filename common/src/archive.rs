//! Tar archives from untrusted sources: read, and unpacked below one directory.
//!
//! A reader that skips a keyword or an entry type that it does not know can produce
//! different files than the archive describes, and report success. This reader honours
//! a keyword, or knows that it does not change the files, or refuses the archive.

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

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The size of a header, and the unit in which an archive stores data.
///
/// # Source
/// POSIX.1-2024, pax, "ustar Interchange Format"
const BLOCK: u64 = 512;

/// A name from an archive as text for an error: control characters and bytes that are
/// not UTF-8 are escaped, so that a name cannot send commands to a terminal.
fn escaped(name: &(impl AsRef<OsStr> + ?Sized)) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\'' | '"' => text.push(character),
                _ => text.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The text of a step: a system call and an entry's name.
fn at(call: &str, path: &Path) -> String {
    format!("{call} {}", escaped(path))
}
