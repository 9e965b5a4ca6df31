//! Varying output: a PID on a page is an example, and any other PID is accepted.

use std::collections::BTreeMap;

use regex::Regex;

/// The kind of text that may replace the example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A process ID.
    Pid,
    /// A user or group ID.
    Uid,
    /// A container ID, twelve hexadecimal digits.
    Id,
    /// A duration or a date.
    Time,
    /// The inode number of a namespace or a file.
    Inode,
    /// A hostname.
    Name,
    /// The version of a program of the machine.
    Version,
    /// A hardware address, or an IPv6 address that is derived from one.
    Address,
}

impl Kind {
    pub(crate) fn named(word: &str) -> Option<Kind> {
        Some(match word {
            "pid" => Kind::Pid,
            "uid" => Kind::Uid,
            "id" => Kind::Id,
            "time" => Kind::Time,
            "inode" => Kind::Inode,
            "name" => Kind::Name,
            "version" => Kind::Version,
            "address" => Kind::Address,
            _ => return None,
        })
    }

    fn pattern(self) -> &'static str {
        match self {
            Kind::Pid | Kind::Uid | Kind::Inode => "[0-9]+",
            Kind::Id => "[0-9a-f]{12}",
            Kind::Time => {
                r"[0-9]+(?:\.[0-9]+)?s?|[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}"
            }
            Kind::Name => "[0-9A-Za-z][0-9A-Za-z.-]*",
            Kind::Version => r"v?[0-9][0-9.]*(?: \([^)]*\))?",
            Kind::Address => "[0-9a-f]+(?::+[0-9a-f]+)+",
        }
    }

    fn fits(self, text: &str) -> bool {
        let whole = Regex::new(&format!("^(?:{})$", self.pattern()));
        whole.expect("a pattern").is_match(text)
    }
}

/// A declared example: `17058 is a pid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Varies {
    pub(crate) example: String,
    pub(crate) kind: Kind,
}

impl Varies {
    /// Parse `EXAMPLE is a KIND`.
    pub(crate) fn parse(text: &str) -> Result<Varies, String> {
        let parts =
            text.rsplit_once(" is a ").or_else(|| text.rsplit_once(" is an "));
        let (example, kind) = parts.ok_or(format!(
            "{text:?} is not a declaration: expected EXAMPLE is a KIND"
        ))?;
        let kind = Kind::named(kind).ok_or(format!(
            "unknown kind {kind:?}: expected pid, uid, id, time, inode, name, version or address"
        ))?;
        if !kind.fits(example) {
            return Err(format!(
                "the example {example:?} does not have the form of a {kind:?}"
            ));
        }
        Ok(Varies { example: example.to_owned(), kind })
    }

    /// The positions of the example in a text, as a separate word.
    fn places(&self, text: &str) -> Vec<usize> {
        let part = |letter: char| letter.is_ascii_alphanumeric();
        let alone = |at: &usize| {
            let (before, after) = (&text[..*at], &text[at + self.example.len()..]);
            !before.ends_with(part) && !after.starts_with(part)
        };
        text.match_indices(&self.example).map(|(at, _)| at).filter(alone).collect()
    }

    pub(crate) fn occurs(&self, text: &str) -> bool {
        !self.places(text).is_empty()
    }
}

/// The actual values of a page's examples in this run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known(BTreeMap<String, String>);

impl Known {
    /// The text, with the examples replaced by their actual values.
    pub(crate) fn put_into(&self, text: &str, varies: &[Varies]) -> String {
        let known = |piece: Piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Example(it) => {
                self.0.get(&it.example).unwrap_or(&it.example).clone()
            }
        };
        pieces(text, varies).into_iter().map(known).collect()
    }

    /// Whether a line of output matches the page's line. The values in the places of
    /// examples are remembered, and must be the same everywhere.
    pub(crate) fn same(
        &mut self,
        page: &str,
        seen: &str,
        varies: &[Varies],
    ) -> bool {
        let mut pattern = String::from("^");
        let mut captured = Vec::new();
        for piece in pieces(page, varies) {
            match piece {
                Piece::Text(text) => {
                    let blank = text.starts_with(' ') && pattern.ends_with(')');
                    let text =
                        if blank { text.trim_start_matches(' ') } else { text };
                    pattern += if blank { " +" } else { "" };
                    pattern += &regex::escape(text);
                }
                Piece::Example(it) => {
                    // The width of a column depends on the numbers in it.
                    let blank = pattern.ends_with(' ');
                    let column = pattern.trim_end_matches(' ').len();
                    if blank {
                        pattern.truncate(column);
                        pattern += if pattern == "^" { " *" } else { " +" };
                    } else if pattern == "^" {
                        pattern += " *";
                    }
                    pattern += &format!("({})", it.kind.pattern());
                    captured.push(&it.example);
                }
            }
        }
        let regex = Regex::new(&format!("{pattern}$")).expect("a pattern");
        let Some(found) = regex.captures(seen) else { return false };
        let mut known = self.clone();
        for (example, text) in captured.into_iter().zip(found.iter().skip(1)) {
            let text = text.map_or("", |text| text.as_str());
            let first = known.0.entry(example.clone()).or_insert(text.to_owned());
            if first != text {
                return false;
            }
        }
        *self = known;
        true
    }
}

enum Piece<'a> {
    Text(&'a str),
    Example(&'a Varies),
}

/// Split a text at the examples in it.
fn pieces<'a>(text: &'a str, varies: &'a [Varies]) -> Vec<Piece<'a>> {
    let each = |it: &'a Varies| it.places(text).into_iter().map(move |at| (at, it));
    let mut places: Vec<(usize, &Varies)> = varies.iter().flat_map(each).collect();
    places.sort_by_key(|(at, _)| *at);
    let (mut found, mut from) = (Vec::new(), 0);
    for (at, it) in places {
        // Skip an example within another one, such as 17 in 0.17.
        if at < from {
            continue;
        }
        found.push(Piece::Text(&text[from..at]));
        found.push(Piece::Example(it));
        from = at + it.example.len();
    }
    found.push(Piece::Text(&text[from..]));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varies(text: &str) -> Vec<Varies> {
        vec![Varies::parse(text).unwrap()]
    }

    #[test]
    fn an_example_matches_only_values_of_its_kind() {
        let pid = varies("135 is a pid");
        assert!(Known::default().same("pid 135", "pid 7", &pid));
        assert!(Known::default().same("  135 root", "70000 root", &pid));
        assert!(Known::default().same("135   root", "70000 root", &pid));
        assert!(!Known::default().same("pid 135", "pid x", &pid));
        assert!(!Known::default().same("pid 135", "pid ", &pid));
        assert!(!Known::default().same("135135", "77", &pid), "not a word");
        let id = varies("0f203521da5b is an id");
        assert!(Known::default().same("0f203521da5b", "a9203521da5b", &id));
        assert!(!Known::default().same("0f203521da5b", "a9203521da5", &id));
        let time = varies("Nov 21 16:02 is a time");
        assert!(Known::default().same(
            "9 Nov 21 16:02 a",
            "9 Jan  1 06:02 a",
            &time
        ));
    }

    #[test]
    fn an_example_has_the_same_value_everywhere() {
        let pid = varies("135 is a pid");
        let mut known = Known::default();
        assert!(!known.same("135 135", "7 8", &pid));
        assert!(known.same("135 135", "7 7", &pid));
        assert!(!known.same("135", "8", &pid));
        assert_eq!(known.put_into("kill 135", &pid), "kill 7");
        assert_eq!(known.put_into("kill 135", &[]), "kill 135");
    }

    #[test]
    fn an_invalid_declaration_is_refused() {
        for text in ["135", "135 is a number", "x is a pid", "12 is an id"] {
            assert!(Varies::parse(text).is_err(), "{text}");
        }
    }
}
