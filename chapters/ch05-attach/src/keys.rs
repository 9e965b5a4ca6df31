//! The detach keys.

use std::str::FromStr;

use anyhow::{Error, Result, bail};

/// A sequence of keys, as the bytes that a terminal sends for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<u8>);

impl FromStr for Keys {
    type Err = Error;

    /// Parse keys that are separated by commas. A key is a printable ASCII
    /// character, or `ctrl-` and a character that has a control code.
    fn from_str(text: &str) -> Result<Keys> {
        let key = |word: &str| match (word.as_bytes(), word.strip_prefix("ctrl-")) {
            ([sign @ b' '..=b'~'], _) => Ok(*sign),
            (_, Some(name)) => match name.as_bytes() {
                // The control code is the last five bits of the letter: ascii(7).
                [sign @ (b'a'..=b'z' | b'@' | b'['..=b'_')] => Ok(sign & 0x1f),
                _ => bail!(
                    "invalid key {word:?}: expected ctrl- and a letter, or one of \
                     @[\\]^_"
                ),
            },
            _ => bail!(
                "invalid key {word:?}: expected a letter, or ctrl- and a letter"
            ),
        };
        text.split(',').map(key).collect::<Result<_>>().map(Keys)
    }
}

/// Searches the input for the detach keys.
pub(crate) struct KeyMatcher {
    keys: Keys,
    /// The input that is a prefix of the detach keys. It is held back until the next
    /// key.
    matched: Vec<u8>,
}

impl KeyMatcher {
    pub(crate) fn new(keys: Keys) -> KeyMatcher {
        KeyMatcher { keys, matched: Vec::new() }
    }

    // ANCHOR: feed
    /// Append the input for the program to `program`. Returns true if all the detach
    /// keys were typed.
    pub(crate) fn feed(&mut self, typed: &[u8], program: &mut Vec<u8>) -> bool {
        for byte in typed {
            self.matched.push(*byte);
            if self.matched == self.keys.0 {
                return true;
            }
            while !self.keys.0.starts_with(&self.matched) {
                program.push(self.matched.remove(0));
            }
        }
        false
    }
    // ANCHOR_END: feed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_characters_and_control_codes() {
        let read = |text: &str| text.parse::<Keys>().ok().map(|keys| keys.0);
        assert_eq!(read("ctrl-p,ctrl-q"), Some(vec![0x10, 0x11]));
        assert_eq!(read("x"), Some(b"x".to_vec()));
        assert_eq!(read("~,."), Some(b"~.".to_vec()));
        assert_eq!(read("ctrl-@,ctrl-[,ctrl-\\,ctrl-]"), Some(vec![0, 27, 28, 29]));
        assert_eq!(read("ctrl-^,ctrl-_,-"), Some(vec![30, 31, b'-']));
        for bad in ["", ",", "a,", "ab", "ctrl-", "ctrl-P", "ctrl-1", "ctrl-pq", "ä"]
        {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn all_other_input_reaches_the_program_in_order() {
        let fed = |keys: &str, pieces: &[&str]| {
            let mut typed = KeyMatcher::new(keys.parse().unwrap());
            let mut program = Vec::new();
            let mut left = false;
            for piece in pieces {
                left = left || typed.feed(piece.as_bytes(), &mut program);
            }
            (String::from_utf8(program).unwrap(), left)
        };
        let to = |text: &str, left| (text.to_owned(), left);
        assert_eq!(fed("a,b", &["xaxb"]), to("xaxb", false));
        assert_eq!(fed("a,b", &["xab", "y"]), to("x", true));
        assert_eq!(fed("a,b", &["xa", "b"]), to("x", true));
        // Held back until the next key.
        assert_eq!(fed("a,b", &["xa"]), to("x", false));
        assert_eq!(fed("a,b", &["xa", "a", "c"]), to("xaac", false));
        assert_eq!(fed("a,a,b", &["aaab"]), to("a", true));
        assert_eq!(fed("x", &["yx"]), to("y", true));
    }
}
