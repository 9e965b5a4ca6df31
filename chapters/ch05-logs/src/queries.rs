//! Remove terminal queries from the output.
//!
//! A program can query the position of the cursor (`ESC [ 6 n`). The terminal sends
//! its answer as input, as if a user had typed it. If `logs` printed the query
//! again, the terminal of the user that reads the log would answer it, and the
//! user's shell would receive the answer as input.

/// The maximum length in bytes of an incomplete sequence that is not printed yet.
const MAX_SEQUENCE: usize = 256;
const ESC: u8 = 0x1b;
/// The control character that is a query for old terminals.
const ENQ: u8 = 0x05;
const BEL: u8 = 0x07;

/// The output for one terminal.
#[derive(Default)]
pub(crate) struct Queries {
    /// The beginning of a sequence that is not complete yet.
    pending: Vec<u8>,
}

// ANCHOR: queries
impl Queries {
    /// The bytes without the queries. An incomplete sequence at their end is kept
    /// for the next call.
    pub(crate) fn without(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for byte in bytes {
            match (self.pending.is_empty(), *byte) {
                (true, ENQ) => {}
                (true, byte) if byte != ESC => shown.push(byte),
                (_, byte) => {
                    self.pending.push(byte);
                    self.decide(&mut shown);
                }
            }
        }
        shown
    }

    /// Print or drop the pending bytes, if they are a complete sequence.
    fn decide(&mut self, shown: &mut Vec<u8>) {
        match kind(&self.pending) {
            Kind::Unfinished if self.pending.len() < MAX_SEQUENCE => return,
            Kind::Query => {}
            Kind::Unfinished | Kind::Other => shown.append(&mut self.pending),
        }
        self.pending.clear();
    }

    /// The incomplete sequence at the end of the log.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }
}
// ANCHOR_END: queries

enum Kind {
    Unfinished,
    Query,
    Other,
}

/// The kind of a sequence that begins with ESC.
///
/// # Source
/// ECMA-48, 5.4 and 8.3.35; xterm's "Control Sequences": the sequences that it
/// answers
fn kind(sequence: &[u8]) -> Kind {
    match sequence {
        [ESC] => Kind::Unfinished,
        [ESC, b'Z'] => Kind::Query,
        [ESC, b'[', inner @ ..] => match inner {
            [.., b' '..=b'?'] | [] => Kind::Unfinished,
            // Status, device attributes, terminal parameters, modes, version, keyboard.
            [.., b'n' | b'c' | b'x'] | [.., b'$', b'p'] => Kind::Query,
            [b'>', .., b'q'] | [b'?', .., b'u'] => Kind::Query,
            // The window's size, position, or title.
            [b'1', b'1'..=b'9', .., b't'] | [b'2', b'0' | b'1', .., b't'] => {
                Kind::Query
            }
            _ => Kind::Other,
        },
        // A string ends with BEL, or with ESC and a backslash.
        [ESC, b']' | b'P', inner @ .., BEL]
        | [ESC, b']' | b'P', inner @ .., ESC, b'\\'] => {
            let is_query = inner.ends_with(b"?")
                || inner.starts_with(b"+q")
                || inner.starts_with(b"$q");
            if is_query { Kind::Query } else { Kind::Other }
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
        for query in [
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
            let text = format!("a{query}b");
            for at in 0..=text.len() {
                let (one, two) = text.as_bytes().split_at(at);
                assert_eq!(all(&[one, two]), "ab", "{query:?} at {at}");
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
