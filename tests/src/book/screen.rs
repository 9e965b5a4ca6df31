//! The text that a terminal shows for a stream of bytes.

/// The text of a stream, without colours, cursor movements and titles.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut shown = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        // The whole line is erased, such as a line of progress.
        if let Some(after) = rest.strip_prefix(b"\r\x1b[K") {
            let begin = shown.iter().rposition(|byte| *byte == b'\n');
            shown.truncate(begin.map_or(0, |at| at + 1));
            rest = after;
            continue;
        }
        rest = after;
        match (first, after.first()) {
            (0x1b, Some(b'[')) => {
                let last = after[1..].iter().position(|b| (0x40..0x7f).contains(b));
                rest = last.map_or(&[][..], |last| &after[last + 2..]);
            }
            (0x1b, Some(b']')) => {
                let last = after.iter().position(|byte| *byte == 0x07);
                rest = last.map_or(&[][..], |last| &after[last + 1..]);
            }
            (0x08, _) => drop(shown.pop()),
            (b'\r' | 0x07 | 0x1b, _) => {}
            (byte, _) => shown.push(*byte),
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn colours_titles_and_carriage_returns_are_removed() {
        let bytes = b"\x1b[1;34mbin\x1b[m\r\n\x1b]0;title\x07/ # \x1b[6nlx\x08s\r\n";
        assert_eq!(text(bytes), "bin\n/ # ls\n");
        assert_eq!(text(b"half\x1b[1"), "half");
        let bytes = b"$ load\r\n\rone\x1b[K\rtwo\x1b[K\r\x1b[Kloaded\r\n";
        assert_eq!(text(bytes), "$ load\nloaded\n");
    }
}
