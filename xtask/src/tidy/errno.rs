//! The book's table of errors: for each errno, the pages of the programs that explain it
//! in a hint. It is generated from the code of the hints, so the two cannot differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nix::errno::Errno;
use proc_macro2::{TokenStream, TokenTree};

use super::{Checkout, Finding};

/// The page with the table.
pub(super) const PAGE: &str = "book/src/errno.md";

/// The lines around the table.
const BEGIN: &str =
    "<!-- errno: generated from the hints by cargo xtask tidy --fix -->\n";
const END: &str = "<!-- errno: end -->\n";

/// The table on the page is that of the code.
pub(super) fn table_differs(checkout: &Checkout) -> Vec<Finding> {
    let Some(page) = checkout.file(Path::new(PAGE)) else { return Vec::new() };
    match fixed(checkout) {
        Some(text) if text == page.text => Vec::new(),
        _ => {
            let what = "the table differs from the hints in the code".to_owned();
            vec![page.finding(1, what, "run `cargo xtask tidy --fix`")]
        }
    }
}

/// The page with the table of the code; `None` without a page or its marks.
pub(super) fn fixed(checkout: &Checkout) -> Option<String> {
    let page = checkout.file(Path::new(PAGE))?;
    let (before, rest) = page.text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", table(checkout)))
}

fn table(checkout: &Checkout) -> String {
    let mut pages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for place in ["chapters", "common"] {
        for file in checkout.below(place, "rs") {
            let Ok(tokens) = file.text.parse::<TokenStream>() else { continue };
            let mut parts = file.path.iter().map(|part| part.to_string_lossy());
            let chapter = match parts.next().as_deref() {
                Some("chapters") => parts.next().unwrap_or_default().into_owned(),
                _ => "engine".to_owned(),
            };
            for errno in hinted(tokens) {
                pages.entry(errno).or_default().insert(chapter.clone());
            }
        }
    }
    let mut text =
        String::from("| errno | meaning | explained by |\n|---|---|---|\n");
    for errno in (1..200).map(Errno::from_raw) {
        let Some(pages) = pages.get(&format!("{errno:?}")) else { continue };
        let links: Vec<String> = pages
            .iter()
            .filter(|name| {
                checkout.exists(&Path::new("book/src").join(format!("{name}.md")))
            })
            .map(|name| format!("[{name}]({name}.md)"))
            .collect();
        if !links.is_empty() {
            let links = links.join(", ");
            text += &format!("| {errno:?} | {} | {links} |\n", errno.desc());
        }
    }
    text
}

/// The names of the errors in hints: in functions that return an `Option<String>`, and in
/// the arguments of `.hint(…)`.
fn hinted(tokens: TokenStream) -> BTreeSet<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let before: String = tokens[at.saturating_sub(6)..at]
            .iter()
            .map(ToString::to_string)
            .collect();
        if before.ends_with(".hint") || before.ends_with("->Option<String>") {
            found.extend(names(group.stream()));
        }
        found.extend(hinted(group.stream()));
    }
    found
}

/// The names after `Errno::`.
fn names(tokens: TokenStream) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let text = tokens.to_string().replace(' ', "");
    for rest in text.split("Errno::").skip(1) {
        let end =
            rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit());
        found.insert(rest[..end.unwrap_or(rest.len())].to_owned());
    }
    found.retain(|name| name.starts_with('E'));
    found
}

#[cfg(test)]
mod tests {
    use super::super::made_up;
    use super::*;

    const CODE: &str = "fn why(errno: Errno) -> Option<String> { match errno { \
        Errno::EBUSY | Errno::E2BIG => Some(a()), _ => None } }\n\
        fn f() { g().step(s).hint(|e| (e == Errno::EPERM).then(h)); \
        if r == Err(Errno::EINTR) {} }\n";

    #[test]
    fn only_errors_in_hints_are_found() {
        let found = hinted(CODE.parse().unwrap());
        let names: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(names, ["E2BIG", "EBUSY", "EPERM"]);
    }

    #[test]
    fn a_table_that_differs_from_the_code_is_found() {
        let page = format!("# Errors\n{BEGIN}old\n{END}");
        let files = |page: &str| {
            made_up(&[
                ("book/src/errno.md", page),
                ("book/src/ch02-uts.md", ""),
                ("chapters/ch02-uts/src/lib.rs", CODE),
            ])
        };
        assert_eq!(table_differs(&files(&page)).len(), 1);
        let good = fixed(&files(&page)).unwrap();
        assert!(good.contains(
            "| EPERM | Operation not permitted | [ch02-uts](ch02-uts.md) |"
        ));
        assert!(table_differs(&files(&good)).is_empty());
    }
}
