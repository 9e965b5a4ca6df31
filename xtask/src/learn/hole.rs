//! A function without its body, which the learner writes.

use std::ops::Range;

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// A function of a file.
struct Function {
    /// The place of the body in the file, with its braces.
    body: Range<usize>,
    /// The body's tokens: comments and spaces do not count.
    tokens: TokenStream,
    /// Whether the function returns a value, which is a `Result` in all tasks.
    returns: bool,
}

/// The text with an empty body for the function: a comment on what to write and, if the
/// function returns a `Result`, an error that names the task.
///
/// # Errors
/// The file cannot be parsed, or has no such function.
pub(super) fn make(
    text: &str,
    path: &str,
    comment: &str,
    error: &str,
) -> Result<String> {
    let function = find(text, path)?;
    let line = text[..function.body.start].rfind('\n').map_or(0, |at| at + 1);
    let indent: String =
        text[line..].chars().take_while(|c| c.is_whitespace()).collect();
    let mut body = String::from("{\n");
    for line in comment.lines() {
        body += &format!("{indent}    // {line}\n");
    }
    if function.returns {
        body += &format!("{indent}    {}\n", statement(error));
    }
    body += &format!("{indent}}}");
    Ok(replace(text, &function.body, &body))
}

/// Whether the function has no body yet.
///
/// # Errors
/// The file cannot be parsed, or has no such function.
pub(super) fn is_empty(text: &str, path: &str, error: &str) -> Result<bool> {
    let function = find(text, path)?;
    let empty = match function.returns {
        true => statement(error).parse().unwrap_or_default(),
        false => TokenStream::new(),
    };
    Ok(function.tokens.to_string() == empty.to_string())
}

/// The text with the body that the function has in the book, on as many lines as the body
/// had before: the compiler's messages about the learner's functions then name the lines
/// of the learner's file.
///
/// # Errors
/// A file cannot be parsed, or has no such function.
pub(super) fn fill_in_place(text: &str, book: &str, path: &str) -> Result<String> {
    let function = find(text, path)?;
    let tokens = find(book, path)?.tokens.to_string();
    let lines = |text: &str| text.matches('\n').count();
    let missing = lines(&text[function.body.clone()]).saturating_sub(lines(&tokens));
    let body = format!("{{ {tokens}{} }}", "\n".repeat(missing));
    Ok(replace(text, &function.body, &body))
}

/// The text with the body that the function has in the book.
///
/// # Errors
/// A file cannot be parsed, or has no such function.
pub(super) fn fill(text: &str, book: &str, path: &str) -> Result<String> {
    let body = body(book, path)?;
    Ok(replace(text, &find(text, path)?.body, &body))
}

/// The body of the function, with its braces.
///
/// # Errors
/// The file cannot be parsed, or has no such function.
pub(super) fn body(text: &str, path: &str) -> Result<String> {
    Ok(text[find(text, path)?.body].to_owned())
}

/// The line on which the function's body begins.
///
/// # Errors
/// The file cannot be parsed, or has no such function.
pub(super) fn line(text: &str, path: &str) -> Result<usize> {
    Ok(text[..find(text, path)?.body.start].matches('\n').count() + 1)
}

/// The only statement of an empty body.
fn statement(error: &str) -> String {
    format!("anyhow::bail!({error:?})")
}

fn replace(text: &str, place: &Range<usize>, new: &str) -> String {
    [&text[..place.start], new, &text[place.end..]].concat()
}

/// Find the function `name`, or `Type::name` in an `impl` of this type.
fn find(text: &str, path: &str) -> Result<Function> {
    let tokens: TokenStream = text
        .parse()
        .ok()
        .context("it is not valid Rust: braces or quotes do not match")?;
    let found = match path.split_once("::") {
        Some((of, name)) => implementations(tokens, of)
            .into_iter()
            .find_map(|group| function(group.stream(), name)),
        None => function(tokens, path),
    };
    found.with_context(|| format!("the function {path} is missing"))
}

/// The bodies of the `impl` blocks whose heads name this type.
fn implementations(tokens: TokenStream, of: &str) -> Vec<Group> {
    let mut found = Vec::new();
    let mut head: Option<Vec<Ident>> = None;
    for token in tokens {
        match (token, &mut head) {
            (TokenTree::Ident(word), None) if word == "impl" => {
                head = Some(Vec::new())
            }
            (TokenTree::Ident(word), Some(words)) => words.push(word),
            (TokenTree::Group(group), Some(words))
                if group.delimiter() == Delimiter::Brace =>
            {
                if words.iter().any(|word| word == of) {
                    found.push(group);
                }
                head = None;
            }
            _ => {}
        }
    }
    found
}

/// The function of this name among these items.
fn function(tokens: TokenStream, name: &str) -> Option<Function> {
    let mut tokens = tokens.into_iter();
    let is = |token: Option<TokenTree>, wanted: &str| matches!(token, Some(TokenTree::Ident(word)) if word == wanted);
    while let Some(token) = tokens.next() {
        if !is(Some(token), "fn") || !is(tokens.next(), name) {
            continue;
        }
        let mut returns = false;
        for token in tokens.by_ref() {
            match token {
                TokenTree::Punct(punct) => match punct.as_char() {
                    // In a function's head, `>` after `-` is only the arrow.
                    '-' => returns = true,
                    // A declaration in a trait.
                    ';' => break,
                    _ => {}
                },
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    let body = group.span().byte_range();
                    return Some(Function { body, tokens: group.stream(), returns });
                }
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOK: &str = "use a::b;\n\nimpl<T> Part for Uts<T> {\n    /// Docs.\n    \
        fn enter(&self, plan: &Plan) -> Result<()> {\n        let a = 1;\n        \
        // Why.\n        call(a)?;\n        Ok(())\n    }\n\n    fn args(&self) {\n        \
        self.b();\n    }\n}\n\nimpl Other {\n    fn enter(&self) {}\n}\n\nfn free() {\n    \
        one();\n}\n";

    #[test]
    fn a_hole_is_recognized_and_filled_as_in_the_book() {
        for (path, expected) in [
            (
                "Uts::enter",
                "{\n        // Write it.\n        anyhow::bail!(\"no\")\n    }",
            ),
            ("Uts::args", "{\n        // Write it.\n    }"),
            ("free", "{\n    // Write it.\n}"),
        ] {
            let holed = make(BOOK, path, "Write it.", "no").unwrap();
            assert_eq!(body(&holed, path).unwrap(), expected, "{path}");
            assert!(is_empty(&holed, path, "no").unwrap(), "{path}");
            assert!(!is_empty(BOOK, path, "no").unwrap(), "{path}");
            assert_eq!(fill(&holed, BOOK, path).unwrap(), BOOK, "{path}");
        }
    }

    #[test]
    fn a_learner_may_leave_out_the_comment_and_change_the_layout() {
        let written =
            "impl Uts { fn enter(&self) -> Result<()> { anyhow::bail! (\"no\") } }";
        assert!(is_empty(written, "Uts::enter", "no").unwrap());
        assert!(!is_empty(written, "Uts::enter", "another").unwrap());
    }

    #[test]
    fn the_lines_below_a_function_that_is_filled_in_keep_their_numbers() {
        let comment = "One.\nTwo.\nThree.\nFour.\nFive.\nSix.";
        let holed = make(BOOK, "Uts::enter", comment, "no").unwrap();
        let filled = fill_in_place(&holed, BOOK, "Uts::enter").unwrap();
        let at = |text: &str| line(text, "free").unwrap();
        assert_eq!(at(&holed), at(&filled));
        assert_eq!(line(BOOK, "Uts::enter").unwrap(), 5);
        let tokens = |text: &str| text.parse::<TokenStream>().unwrap().to_string();
        assert_eq!(tokens(&filled), tokens(BOOK));
    }

    #[test]
    fn a_missing_function_and_unbalanced_braces_are_errors() {
        for (text, path, reason) in [
            (BOOK, "Uts::leave", "the function Uts::leave is missing"),
            (BOOK, "Nobody::enter", "the function Nobody::enter is missing"),
            ("fn a() {", "a", "not valid Rust"),
        ] {
            let error = body(text, path).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
