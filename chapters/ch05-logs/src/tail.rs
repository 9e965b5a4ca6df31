//! Find the beginning of the last lines of a log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ch05_detach::Entry;

/// The number of bytes per read.
const BLOCK: u64 = 64 << 10;

// ANCHOR: tail
/// The position from which the given number of lines begin. The log is read from its
/// end, because it may be very long.
pub(crate) fn tail(log: &File, lines: usize) -> io::Result<u64> {
    let mut at = log.metadata()?.len();
    if lines == 0 {
        return Ok(at);
    }
    let mut begun = 0;
    // The bytes from `at` on that are not a complete line yet.
    let mut text = Vec::new();
    loop {
        let last = text.len().saturating_sub(1);
        let before = text[..last].iter().rposition(|byte| *byte == b'\n');
        let from = match before {
            Some(end) => end + 1,
            None if at == 0 => 0,
            None => {
                let length = BLOCK.min(at);
                at -= length;
                let mut block = vec![0; length as usize];
                log.read_exact_at(&mut block, at)?;
                block.append(&mut text);
                text = block;
                continue;
            }
        };
        let line = text[from..].strip_suffix(b"\n").unwrap_or(&text[from..]);
        begun += usize::from(Entry::parse(line).is_some_and(|entry| entry.begins));
        if begun == lines || (from == 0 && at == 0) {
            return Ok(at + from as u64);
        }
        text.truncate(from);
    }
}
// ANCHOR_END: tail

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str, lines: usize) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let from = tail(file.as_file(), lines).unwrap();
        text[from as usize..].to_owned()
    }

    const TIME: &str = "2026-11-21T22:00:00.000000000Z";

    #[test]
    fn lines_are_counted_by_their_beginnings() {
        let log = ["stdout F 1", "stdout P 2", "stderr F 3", "stdout F:+ more"];
        let log: String = log.map(|text| format!("{TIME} {text}\n")).concat();
        for (lines, beginning) in [
            (1, "stderr F 3"),
            (2, "stdout P 2"),
            (3, "stdout F 1"),
            (9, "stdout F 1"),
        ] {
            let found = last(&log, lines);
            let expected = format!("{TIME} {beginning}");
            assert!(found.starts_with(&expected), "{lines}: {found}");
        }
        assert_eq!(last(&log, 0), "");
        assert_eq!(last("", 5), "");
    }

    #[test]
    fn damaged_lines_do_not_count_and_a_truncated_line_does() {
        let log = format!("{TIME} stdout F 1\n\0\0\n{TIME} stdout F 2\n{TIME} std");
        assert!(last(&log, 1).starts_with(&format!("{TIME} stdout F 2\n")));
        assert!(last(&log, 2).starts_with(&format!("{TIME} stdout F 1\n")));
        let log = format!("{TIME} stdout F 1\n{TIME} stdout F cut of");
        assert_eq!(last(&log, 1), format!("{TIME} stdout F cut of"));
    }

    #[test]
    fn a_log_of_many_blocks_is_read_from_its_end() {
        let line = |n| format!("{TIME} stdout F {n:0>100}\n");
        let log: String = (0..5000).map(line).collect();
        for lines in [1, 2, 499, 4999, 5000, 6000] {
            let found = last(&log, lines);
            assert_eq!(found.lines().count(), lines.min(5000));
        }
    }
}
