//! Reading small files by one read(2): records, lock files, files of a process in
//! /proc.
//!
//! std first queries a file's size, and reads once more to find its end. These are
//! two of five system calls per file, which matters for a thousand records.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::io::Errno;

/// The size of the buffer: larger than almost all of these files.
const BUFFER_SIZE: usize = 4096;

/// The whole content of a file.
///
/// # Errors
/// open(2) or read(2) fails.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    rest(&mut File::open(path)?)
}

/// The whole content of a file, as text.
///
/// # Errors
/// open(2) or read(2) fails, or the content is not UTF-8.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
}

/// The content of a file from its current position on.
///
/// # Errors
/// read(2) fails.
pub fn rest(file: &mut File) -> io::Result<Vec<u8>> {
    // std's read() requires an initialized buffer, of which most would stay unused.
    let mut buffer = [MaybeUninit::uninit(); BUFFER_SIZE];
    let mut bytes = loop {
        match rustix::io::read(&*file, &mut buffer) {
            Err(Errno::INTR) => {}
            read => break read?.0.to_vec(),
        }
    };
    // A regular file or a file of /proc returns fewer bytes than requested only at
    // its end.
    if bytes.len() == BUFFER_SIZE {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_size_is_read_completely() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for size in
            [0, 1, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1, 3 * BUFFER_SIZE]
        {
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path).unwrap(), bytes, "{size}");
        }
        let missing = read(dir.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
