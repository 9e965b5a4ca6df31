//! Names from archives in the texts of errors.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A name from an archive as text for an error: control characters and bytes that are
/// not UTF-8 are escaped, so that a name cannot send commands to a terminal.
pub(super) fn escaped(name: &(impl AsRef<OsStr> + ?Sized)) -> String {
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
pub(super) fn at(call: &str, path: &Path) -> String {
    format!("{call} {}", escaped(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_errors_cannot_control_a_terminal() {
        let name = OsStr::from_bytes(b"a\x1b\xff\\'\x7f");
        assert_eq!(escaped(name), r"a\u{1b}\xff\\'\u{7f}");
        assert_eq!(escaped(Path::new("plain/\u{e9}")), "plain/\u{e9}");
    }
}
