//! The text that a terminal shows for a stream of bytes.

/// The text of a stream, without colours, cursor movements and titles.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut shown = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
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
    }
}
