//! Text that this program did not write, made safe for a terminal.

use std::borrow::Cow;

/// Escape the characters that control a terminal or change the direction of a line: a
/// name, a path or an argument can contain any of them. Everything else stays as it is.
///
/// A line feed stays too, since an error has several lines; [`on_one_line`] escapes it.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unsafe(c))
}

/// Escape a text that must stay on one line, such as a cell of a table.
#[must_use]
pub fn on_one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

fn escaped(text: &str, unsafe_here: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&unsafe_here) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match unsafe_here(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Whether a terminal does something else with this character than to show it.
///
/// # Source
/// Unicode Standard Annex 9, "Bidirectional Character Types"; U+200B to U+200F and U+FEFF
/// are not visible; U+2028 and U+2029 end a line
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_characters_that_control_a_terminal_are_escaped() {
        for (text, one_line, several) in [
            ("caf\u{e9} \u{65e5}\u{672c} 'a\\b'", "", ""),
            ("\x1b[31m", r"\u{1b}[31m", r"\u{1b}[31m"),
            ("a\u{202e}gnp", r"a\u{202e}gnp", r"a\u{202e}gnp"),
            ("a\u{9b}2J\u{200b}", r"a\u{9b}2J\u{200b}", r"a\u{9b}2J\u{200b}"),
            ("a\nb\tc\r", r"a\nb\tc\r", "a\nb\\tc\\r"),
        ] {
            let expected = |it: &'static str| if it.is_empty() { text } else { it };
            assert_eq!(on_one_line(text), expected(one_line));
            assert_eq!(plain(text), expected(several));
        }
    }
}
