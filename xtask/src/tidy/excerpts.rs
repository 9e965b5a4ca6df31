//! Code in the book is included by anchor from crates that are compiled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Checkout, File, Finding, plain};
use crate::learn::section::{BEGIN, END};

/// The directories with compiled code.
const COMPILED: [&str; 4] = ["chapters", "common", "tests", "xtask"];

/// Each included anchor exists, and each anchor is included.
pub(super) fn anchors(checkout: &Checkout) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for page in checkout.below("book/src", "md") {
        for (line, path, anchor) in includes(page) {
            let shown = path.display();
            let Some(file) = checkout.file(&path) else {
                let what = format!("{shown} is included, but does not exist");
                found.push(page.finding(
                    line,
                    what,
                    "include a file of the checkout",
                ));
                continue;
            };
            let Some(anchor) = anchor else { continue };
            if !file.lines().any(|(_, text)| mark(text) == Some((true, anchor))) {
                let what = format!("{shown} has no ANCHOR: {anchor}");
                let remedy =
                    "add the anchor around the code, or include another anchor";
                found.push(page.finding(line, what, remedy));
            }
            used.insert((path, anchor.to_owned()));
        }
    }
    let code = COMPILED.iter().flat_map(|place| checkout.below(place, "rs"));
    for file in code {
        for (line, text) in file.lines() {
            let Some((begins, anchor)) = mark(text) else { continue };
            let other = Some((!begins, anchor));
            if !file.lines().any(|(_, text)| mark(text) == other) {
                let what = format!("the anchor {anchor} has only one mark");
                found.push(file.finding(
                    line,
                    what,
                    "mark its beginning and its end",
                ));
            }
            // `tidy --fix` writes the stages of a program into its page.
            let is_used = anchor.starts_with("stage")
                || used.contains(&(file.path.clone(), anchor.to_owned()));
            if begins && !is_used {
                let what = format!("no page includes the anchor {anchor}");
                let remedy = "include it, or remove its two lines";
                found.push(file.finding(line, what, remedy));
            }
        }
    }
    found
}

/// Each block of Rust on a page is one include from a compiled crate.
pub(super) fn rust_blocks(checkout: &Checkout) -> Vec<Finding> {
    let mut found = Vec::new();
    for page in checkout.below("book/src", "md") {
        let mut lines = page.lines();
        while let Some((number, line)) = lines.next() {
            // Generated from compiled code.
            if line == BEGIN.trim_end() {
                let _ = lines.by_ref().find(|(_, line)| *line == END.trim_end());
                continue;
            }
            let Some(kind) = line.trim_start().strip_prefix("```") else { continue };
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside: Vec<_> =
                inside.take_while(|line| line.trim_start() != "```").collect();
            if !kind.starts_with("rust") {
                continue;
            }
            let one = match inside[..] {
                [line] => include(page, line),
                _ => None,
            };
            let compiled = |(path, anchor): (PathBuf, Option<&str>)| {
                anchor.is_some()
                    && COMPILED.iter().any(|place| path.starts_with(place))
            };
            if !one.is_some_and(compiled) {
                let what = "this Rust is not compiled".to_owned();
                let remedy =
                    "replace the block by one {{#include …:anchor}} of a crate";
                found.push(page.finding(number, what, remedy));
            }
        }
    }
    found
}

/// The includes of a page: line, path, anchor.
fn includes(page: &File) -> impl Iterator<Item = (usize, PathBuf, Option<&str>)> {
    page.lines().filter_map(|(number, line)| {
        let (path, anchor) = include(page, line)?;
        Some((number, path, anchor))
    })
}

fn include<'a>(page: &File, line: &'a str) -> Option<(PathBuf, Option<&'a str>)> {
    let (_, after) = line.split_once("{{#include ")?;
    let (target, _) = after.split_once("}}")?;
    let (path, anchor) = match target.trim().split_once(':') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target.trim(), None),
    };
    let directory = page.path.parent().unwrap_or(Path::new(""));
    Some((plain(&directory.join(path)), anchor))
}

/// The anchor that begins or ends on a line of code.
fn mark(line: &str) -> Option<(bool, &str)> {
    let comment = line.trim_start().strip_prefix("// ANCHOR")?;
    match comment.strip_prefix("_END: ") {
        Some(name) => Some((false, name.trim())),
        None => Some((true, comment.strip_prefix(": ")?.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{made_up, said};
    use super::*;

    const CODE: &str = "// ANCHOR: part\nfn f() {}\n// ANCHOR_END: part\n";

    fn page(block: &str) -> Checkout {
        let code = ("chapters/a/src/lib.rs", CODE);
        made_up(&[("book/src/a.md", block), code])
    }

    #[test]
    fn a_used_excerpt_is_accepted() {
        let good = page(
            "```rust,ignore\n{{#include ../../chapters/a/src/lib.rs:part}}\n```",
        );
        assert_eq!(said(&anchors(&good)), "");
        assert_eq!(said(&rust_blocks(&good)), "");
    }

    #[test]
    fn an_unknown_or_unused_anchor_is_found() {
        let found =
            said(&anchors(&page("{{#include ../../chapters/a/src/lib.rs:x}}")));
        assert!(
            found
                .contains("book/src/a.md:1: chapters/a/src/lib.rs has no ANCHOR: x")
        );
        assert!(
            found.contains("chapters/a/src/lib.rs:1: no page includes"),
            "{found}"
        );
        let found = said(&anchors(&page("{{#include ../../chapters/b.rs:part}}")));
        assert!(found.contains("chapters/b.rs is included, but does not exist"));
        let half = made_up(&[("common/src/a.rs", "x\n// ANCHOR_END: y\n")]);
        assert!(
            said(&anchors(&half))
                .contains("common/src/a.rs:2: the anchor y has only one")
        );
    }

    #[test]
    fn rust_that_is_not_compiled_is_found() {
        for block in [
            "a\n```rust\nfn f() {}\n```\n",
            "a\n```rust,ignore\n{{#include ../../chapters/a/src/lib.rs}}\n```\n",
            "a\n```rust,ignore\n{{#include b.rs:part}}\n```\n",
            "a\n```rust,ignore\nx\n{{#include ../../chapters/a/src/lib.rs:part}}\n```\n",
        ] {
            let found = said(&rust_blocks(&page(block)));
            assert!(
                found.contains("book/src/a.md:2: this Rust"),
                "{block}: {found}"
            );
        }
        assert_eq!(said(&rust_blocks(&page("```console\n$ rust\n```\n"))), "");
    }
}
