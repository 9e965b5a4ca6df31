//! An entry of a log.

use jiff::Timestamp;

/// The stream to which a program wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a terminal, which combines both streams.
    Out,
    /// Standard error.
    Err,
}

/// An entry of a log: output of one stream, at most one line of it.
///
/// ```text
/// 2026-11-21T22:00:00.123456789Z stdout P half a li
/// 2026-11-21T22:00:00.123460001Z stderr F a whole line
/// 2026-11-21T22:00:00.123470000Z stdout F:+ ne
/// ```
///
/// F (full): the output ends with a line break. P (partial): it does not, or not
/// yet. All programs that write this format use this first tag. The tag `+` is our
/// own: the entry continues the last entry of this stream.
///
/// # Source
/// The format of container logs of the Kubernetes CRI, "logging format"
// ANCHOR: entry
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The time when the output was read.
    pub time: Timestamp,
    /// The stream of the output.
    pub stream: Stream,
    /// Whether the entry ends a line.
    pub ends: bool,
    /// Whether the entry begins a line.
    pub begins: bool,
    /// The output: any bytes except line breaks.
    pub text: &'a [u8],
}
// ANCHOR_END: entry

/// Format a time for the log. This takes longer than all other work for a short
/// line. All lines of one read(2) have the same time, so the caller formats it once.
pub(crate) fn stamp(time: Timestamp) -> String {
    format!("{time:.9}")
}

impl<'a> Entry<'a> {
    /// Append the entry to a log. `stamp` is its time, formatted by [`stamp`].
    pub(crate) fn write(&self, stamp: &str, log: &mut Vec<u8>) {
        let stream = match self.stream {
            Stream::Out => " stdout ",
            Stream::Err => " stderr ",
        };
        let ends = if self.ends { "F" } else { "P" };
        let begins = if self.begins { " " } else { ":+ " };
        for piece in [stamp, stream, ends, begins] {
            log.extend_from_slice(piece.as_bytes());
        }
        log.extend_from_slice(self.text);
        log.push(b'\n');
    }

    /// Parse a line without its line break. Returns `None` if the line is not a
    /// valid entry.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Entry<'a>> {
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let stream = match words.next()? {
            b"stdout" => Stream::Out,
            b"stderr" => Stream::Err,
            _ => return None,
        };
        let mut tags = words.next()?.split(|byte| *byte == b':');
        let ends = match tags.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        let begins = !tags.any(|tag| tag == b"+");
        Some(Entry { time, stream, ends, begins, text: words.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_data_are_read_back_unchanged() {
        for (stream, ends, begins, text) in [
            (Stream::Out, true, true, &b"a line"[..]),
            (Stream::Err, false, true, b" with  spaces "),
            (Stream::Out, true, false, b""),
            (Stream::Err, false, false, b"\xff\0\r"),
        ] {
            let time = Timestamp::new(1_795_298_400, 120).unwrap();
            let entry = Entry { time, stream, ends, begins, text };
            let mut log = Vec::new();
            entry.write(&stamp(time), &mut log);
            let (last, line) = log.split_last().unwrap();
            assert_eq!(*last, b'\n');
            assert_eq!(Entry::parse(line), Some(entry));
        }
    }

    #[test]
    fn the_time_always_has_nine_digits() {
        let time = Timestamp::new(1_795_298_400, 120).unwrap();
        let (stream, text) = (Stream::Out, &b"x"[..]);
        let mut log = Vec::new();
        let entry = Entry { time, stream, ends: true, begins: true, text };
        entry.write(&stamp(time), &mut log);
        assert_eq!(log, b"2026-11-21T22:00:00.000000120Z stdout F x\n");
    }

    #[test]
    fn a_damaged_line_is_not_an_entry() {
        for line in [
            "",
            "2026-11-21T22:00:00Z",
            "2026-11-21T22:00:00Z stdout F",
            "2026-11-21T22:00:00Z stdin F x",
            "2026-11-21T22:00:00Z stdout X x",
            "yesterday stdout F x",
            "\0\0\0\0",
        ] {
            assert_eq!(Entry::parse(line.as_bytes()), None, "{line:?}");
        }
    }
}
