//! Leave out what makes a terminal answer.
//!
//! A program asks its terminal where the cursor is (`ESC [ 6 n`), and the terminal
//! answers as if the answer were typed. If `logs` showed the question again, the answer
//! would be typed at the shell of whoever reads the log.

/// The longest sequence that is held back until it is complete, in bytes.
const MAX_SEQUENCE: usize = 256;
const ESC: u8 = 0x1b;
/// The control character to which old terminals answer.
const ENQ: u8 = 0x05;
const BEL: u8 = 0x07;

/// The output for one terminal.
#[derive(Default)]
pub(crate) struct Queries {
    /// The begin of a sequence that is not complete yet.
    held: Vec<u8>,
}

// ANCHOR: queries
impl Queries {
    /// The bytes without the questions. The begin of a sequence at their end is kept for
    /// the next call.
    pub(crate) fn without(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for byte in bytes {
            match (self.held.is_empty(), *byte) {
                (true, ENQ) => {}
                (true, byte) if byte != ESC => shown.push(byte),
                (_, byte) => {
                    self.held.push(byte);
                    self.decide(&mut shown);
                }
            }
        }
        shown
    }

    /// Show or drop the held bytes, if they are a whole sequence.
    fn decide(&mut self, shown: &mut Vec<u8>) {
        match kind(&self.held) {
            Kind::Unfinished if self.held.len() < MAX_SEQUENCE => return,
            Kind::Question => {}
            Kind::Unfinished | Kind::Other => shown.append(&mut self.held),
        }
        self.held.clear();
    }

    /// What is held back at the end of the log.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}
// ANCHOR_END: queries

enum Kind {
    Unfinished,
    Question,
    Other,
}

/// What a sequence is. It begins with ESC.
///
/// # Source
/// ECMA-48, 5.4 and 8.3.35; xterm's "Control Sequences": the sequences that it answers
fn kind(sequence: &[u8]) -> Kind {
    match sequence {
        [ESC] => Kind::Unfinished,
        [ESC, b'Z'] => Kind::Question,
        [ESC, b'[', inner @ ..] => match inner {
            [.., b' '..=b'?'] | [] => Kind::Unfinished,
            // Status, device attributes, terminal parameters, modes, version, keyboard.
            [.., b'n' | b'c' | b'x'] | [.., b'$', b'p'] => Kind::Question,
            [b'>', .., b'q'] | [b'?', .., b'u'] => Kind::Question,
            // The window's size, position, or title.
            [b'1', b'1'..=b'9', .., b't'] | [b'2', b'0' | b'1', .., b't'] => {
                Kind::Question
            }
            _ => Kind::Other,
        },
        // A string ends with BEL, or with ESC and a backslash.
        [ESC, b']' | b'P', inner @ .., BEL]
        | [ESC, b']' | b'P', inner @ .., ESC, b'\\'] => {
            let asks = inner.ends_with(b"?")
                || inner.starts_with(b"+q")
                || inner.starts_with(b"$q");
            if asks { Kind::Question } else { Kind::Other }
        }
        [ESC, b']' | b'P', ..] => Kind::Unfinished,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[&[u8]]) -> String {
        let mut queries = Queries::default();
        let mut shown: Vec<u8> =
            parts.iter().flat_map(|part| queries.without(part)).collect();
        shown.extend(queries.rest());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn queries_are_removed_even_if_they_are_split() {
        for question in [
            "\x1b[6n",
            "\x1b[c",
            "\x1b[>c",
            "\x1b[?1$p",
            "\x1b[18t",
            "\x1bZ",
            "\x05",
            "\x1b]11;?\x07",
            "\x1b]4;1;?\x1b\\",
            "\x1bP+q544e\x1b\\",
            "\x1bP$qm\x1b\\",
            "\x1b[>0q",
            "\x1b[?u",
        ] {
            let text = format!("a{question}b");
            for at in 0..=text.len() {
                let (one, two) = text.as_bytes().split_at(at);
                assert_eq!(all(&[one, two]), "ab", "{question:?} at {at}");
            }
        }
    }

    #[test]
    fn all_other_output_is_kept() {
        let endless = format!("\x1b]0;{}", "x".repeat(1000));
        for text in [
            "plain\r\n",
            "\x1b[31mred\x1b[0m",
            "\x1b]0;title\x07",
            "\x1b[2J\x1b[H",
            "\x1b[22;0;0t",
            "\x1b",
            "\x1b[",
            "\x1b(B",
            "\x1b[1 q",
            "\x1b[u",
            &endless,
        ] {
            for at in 0..=text.len() {
                let (one, two) = text.as_bytes().split_at(at);
                assert_eq!(all(&[one, two]), text, "{at}");
            }
        }
    }
}
