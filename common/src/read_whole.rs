//! Files that one read(2) takes whole: records, locks, what /proc tells of a process.
//!
//! std asks for a file's size first and reads once more for its end. With a thousand
//! records those are two thousand system calls of five.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::io::Errno;

/// Larger than any of them is.
const LARGEST: usize = 4096;

/// All that a file holds.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    rest(&mut File::open(path)?)
}

/// All that a file holds, as text.
///
/// # Errors
/// Those of open(2) and read(2), and what is no UTF-8.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
}

/// What a file holds from where it stands.
///
/// # Errors
/// Those of read(2).
pub fn rest(file: &mut File) -> io::Result<Vec<u8>> {
    // std's read(2) takes only a buffer that was filled before. Most of it stays unused.
    let mut buffer = [MaybeUninit::uninit(); LARGEST];
    let mut bytes = loop {
        match rustix::io::read(&*file, &mut buffer) {
            Err(Errno::INTR) => {}
            read => break read?.0.to_vec(),
        }
    };
    // A regular file, and one of /proc, gives less than was asked for at its end only.
    if bytes.len() == LARGEST {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_however_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for size in [0, 1, LARGEST - 1, LARGEST, LARGEST + 1, 3 * LARGEST] {
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path).unwrap(), bytes, "{size}");
        }
        let missing = read(dir.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
