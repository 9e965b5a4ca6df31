//! Write a container's log.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Result;
use common::hints;
use common::state::Home;
use common::step::{Hint, Step};
use jiff::Timestamp;

use crate::entry::{Entry, Stream, stamp};

/// The path of a container's log.
#[must_use]
pub fn path(home: &Home) -> PathBuf {
    home.dir().join("log")
}

/// A log that several parts share. Output before the log is opened is dropped.
#[derive(Clone, Debug, Default)]
pub struct Log(Rc<RefCell<Option<Writer>>>);

impl Log {
    /// Create the file.
    pub(crate) fn open(&self, home: &Home) -> Result<()> {
        let path = path(home);
        let mut new = File::options();
        // Only the owner may read the program's output.
        let file = new.append(true).create_new(true).mode(0o600).open(&path);
        let file = file
            .step(|| format!("open(2) {}", path.display()))
            .hint(hints::state)?;
        let writer = Writer { file, length: 0, lost: 0, within: [false; 2] };
        self.0.replace(Some(writer));
        Ok(())
    }

    /// Write output of a stream to the log.
    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        if let Some(writer) = self.0.borrow_mut().as_mut() {
            writer.write(Timestamp::now(), stream, bytes);
        }
    }
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// The length of the file up to the end of the last complete entry, in bytes.
    length: u64,
    /// The number of bytes of output that could not be written.
    lost: u64,
    /// For each stream, whether its last line has not ended yet.
    within: [bool; 2],
}

impl Writer {
    // ANCHOR: write
    /// Write entries without a buffer. When this returns, the output is in the file,
    /// so it is not lost if this process is killed.
    fn write(&mut self, time: Timestamp, stream: Stream, bytes: &[u8]) {
        let mut entries = Vec::with_capacity(bytes.len() + 64);
        let within = self.within;
        let stamp = stamp(time);
        if self.lost > 0 {
            let text = format!("mydocker: {} bytes of output were lost", self.lost);
            let (stream, text) = (Stream::Err, text.as_bytes());
            Entry { time, stream, ends: true, begins: true, text }
                .write(&stamp, &mut entries);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let ends = text.len() < line.len();
            let within = &mut self.within[stream as usize];
            Entry { time, stream, ends, begins: !*within, text }
                .write(&stamp, &mut entries);
            *within = !ends;
        }
        match self.file.write_all(&entries) {
            Ok(()) => {
                self.length += entries.len() as u64;
                self.lost = 0;
            }
            // A full disk must not end the program. The loss is reported in the log
            // when there is room again.
            Err(_) => {
                self.lost += bytes.len() as u64;
                self.within = within;
                let _ = self.file.set_len(self.length);
            }
        }
    }
    // ANCHOR_END: write
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(steps: &[(Stream, &[u8])]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (length, lost, within) = (0, 0, [false; 2]);
        let mut writer =
            Writer { file: file.reopen().unwrap(), length, lost, within };
        let time = Timestamp::UNIX_EPOCH;
        for (stream, bytes) in steps {
            writer.write(time, *stream, bytes);
        }
        let text = std::fs::read_to_string(file.path()).unwrap();
        text.replace("1970-01-01T00:00:00.000000000Z ", "")
    }

    #[test]
    fn lines_are_split_and_partial_lines_are_continued() {
        let (out, err) = (Stream::Out, Stream::Err);
        let steps: [(Stream, &[u8]); 5] = [
            (out, b"one\ntwo\nhalf"),
            (err, b"\n"),
            (out, b" and more"),
            (out, b"\nlast\n"),
            (err, b"no end"),
        ];
        assert_eq!(
            written(&steps),
            "stdout F one\nstdout F two\nstdout P half\nstderr F \n\
             stdout P:+  and more\nstdout F:+ \nstdout F last\nstderr P no end\n"
        );
    }

    #[test]
    fn bytes_lost_on_a_full_disk_are_reported() {
        let full = File::options().append(true).open("/dev/full").unwrap();
        let mut writer =
            Writer { file: full, length: 0, lost: 0, within: [false; 2] };
        let time = Timestamp::UNIX_EPOCH;
        writer.write(time, Stream::Out, b"first");
        writer.write(time, Stream::Out, b"second\n");
        assert_eq!((writer.lost, writer.within), (12, [false; 2]));
        let file = tempfile::NamedTempFile::new().unwrap();
        writer.file = file.reopen().unwrap();
        writer.write(time, Stream::Out, b"third\n");
        let text = std::fs::read_to_string(file.path()).unwrap();
        let text = text.replace("1970-01-01T00:00:00.000000000Z ", "");
        let told = "stderr F mydocker: 12 bytes of output were lost\n";
        assert_eq!(text, format!("{told}stdout F third\n"));
        assert_eq!(writer.lost, 0);
    }
}
