//! The top-level items of a Rust file, and which of them are tests.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::File;

/// An item of a file, with its attributes.
pub(super) struct Item {
    pub(super) tokens: Vec<TokenTree>,
    /// Whether it is compiled only for tests: `#[cfg(test)]` or `#[test]`.
    pub(super) is_test: bool,
}

/// The items of a file in their order. A file that cannot be parsed has none:
/// [`super::rust`] reports it.
pub(super) fn items(file: &File) -> Vec<Item> {
    split(file.text.parse::<TokenStream>().unwrap_or_default())
}

fn split(tokens: TokenStream) -> Vec<Item> {
    let mut items = Vec::new();
    let mut item = Item { tokens: Vec::new(), is_test: false };
    for token in tokens {
        let after_hash = matches!(item.tokens.last(), Some(TokenTree::Punct(punct))
            if punct.as_char() == '#');
        let ends = match &token {
            TokenTree::Punct(punct) => punct.as_char() == ';',
            TokenTree::Group(group) if after_hash => {
                let text = group.to_string().replace(' ', "");
                item.is_test |= text == "[cfg(test)]" || text == "[test]";
                false
            }
            TokenTree::Group(group) => {
                group.delimiter() == Delimiter::Brace && has_body(&item.tokens)
            }
            _ => false,
        };
        item.tokens.push(token);
        if ends {
            let next = Item { tokens: Vec::new(), is_test: false };
            items.push(std::mem::replace(&mut item, next));
        }
    }
    items.push(item);
    items
}

/// Whether an item that begins with these tokens ends with braces. Imports and
/// constants may have braces too, but end with a semicolon.
fn has_body(tokens: &[TokenTree]) -> bool {
    let mut words = tokens.iter().filter_map(|token| match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    });
    let kinds = ["fn", "impl", "struct", "enum", "trait", "mod", "use", "static"];
    let is_kind = |word: &String| {
        kinds.contains(&word.as_str()) || ["const", "type"].contains(&word.as_str())
    };
    match words.find(is_kind).as_deref() {
        Some("const") => words.next().is_some_and(|word| word == "fn"),
        Some("use" | "static" | "type") => false,
        _ => true,
    }
}

impl Item {
    /// The items of an inline module.
    pub(super) fn inner(&self) -> Vec<Item> {
        let is_module = self.tokens.iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == "mod",
            _ => false,
        });
        match self.tokens.last() {
            Some(TokenTree::Group(body)) if is_module => split(body.stream()),
            _ => Vec::new(),
        }
    }

    /// The first and the last line.
    pub(super) fn lines(&self) -> std::ops::RangeInclusive<usize> {
        let first = self.tokens.first().map_or(1, |it| it.span().start().line);
        let last = self.tokens.last().map_or(0, |it| it.span().end().line);
        first..=last
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up;
    use super::*;

    #[test]
    fn items_end_at_a_semicolon_or_a_body_and_tests_are_detected() {
        let text = "use a::{b, c};\nconst D: E = E { f: 1 };\n#[test]\nfn g() {\n}\n\
                    /// Text.\nfn h() -> I<J = K> {}\n#[cfg(test)]\nmod tests {\n}\n";
        let checkout = made_up(&[("x.rs", text)]);
        let found: Vec<_> = items(&checkout.files[0])
            .iter()
            .map(|item| (item.lines(), item.is_test))
            .filter(|(lines, _)| !lines.is_empty())
            .collect();
        assert_eq!(
            found,
            [
                (1..=1, false),
                (2..=2, false),
                (3..=5, true),
                (6..=7, false),
                (8..=10, true)
            ]
        );
    }
}
