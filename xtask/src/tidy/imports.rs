//! Imports between files have no cycles.
//!
//! A file that declares modules may use them, and they may use it: it is their table
//! of contents. Therefore, an import of a file's own descendant does not count.
//! Every other import counts, even through a re-export.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenTree};

use super::items::items;
use super::{Checkout, File, Finding};

/// A module's name from the root of its crate; the root has none.
type Name = Vec<String>;

/// A module that is a file.
struct Module<'a> {
    file: &'a File,
    /// Its imports, by their local names.
    imports: BTreeMap<String, Name>,
    /// All paths in its code, including imports, with their line numbers.
    paths: Vec<(usize, Name)>,
}

/// The modules of a crate.
type Crate<'a> = BTreeMap<Name, Module<'a>>;

/// Find cycles of imports.
pub(super) fn cycles(checkout: &Checkout) -> Vec<Finding> {
    roots(checkout)
        .flat_map(|root| {
            let mut modules = Crate::new();
            read(checkout, root, Vec::new(), &mut modules);
            circles(&modules)
        })
        .collect()
}

/// The root files of crates.
fn roots(checkout: &Checkout) -> impl Iterator<Item = &File> {
    let places = ["chapters", "common", "tests", "xtask"];
    let files = places.into_iter().flat_map(|place| checkout.below(place, "rs"));
    files.filter(|file| {
        let name = file.path.file_name().and_then(|name| name.to_str());
        let parent = file.path.parent().and_then(Path::file_name);
        let parent = parent.and_then(|name| name.to_str());
        matches!(name, Some("main.rs" | "lib.rs"))
            || matches!(parent, Some("bin" | "examples"))
    })
}

/// Read a module's file, and the files of the modules that it declares.
fn read<'a>(
    checkout: &'a Checkout,
    file: &'a File,
    name: Name,
    modules: &mut Crate<'a>,
) {
    let mut module = Module { file, imports: BTreeMap::new(), paths: Vec::new() };
    let mut children = Vec::new();
    for item in items(file).iter().filter(|item| !item.is_test) {
        let words: Vec<String> =
            item.tokens.iter().map(ToString::to_string).collect();
        if let [.., keyword, child, end] = words.as_slice()
            && keyword == "mod"
            && end == ";"
        {
            children.push(child.clone());
        }
        if let Some(at) = words.iter().position(|word| word == "use") {
            import(&item.tokens[at + 1..], &mut Vec::new(), &mut module);
        } else {
            paths(&item.tokens, &mut module);
        }
    }
    let is_root = name.is_empty();
    modules.insert(name.clone(), module);
    let directory = match is_root {
        true => file.path.parent().map(Path::to_owned).unwrap_or_default(),
        false => file.path.with_extension(""),
    };
    for child in children {
        let path: PathBuf = directory.join(&child).with_extension("rs");
        if let Some(file) = checkout.file(&path) {
            let name = [name.as_slice(), &[child]].concat();
            read(checkout, file, name, modules);
        }
    }
}

/// Collect a tree of imports: the tokens after `use`.
fn import(tokens: &[TokenTree], before: &mut Name, module: &mut Module) {
    let depth = before.len();
    let mut alias = None;
    let mut line = 0;
    let mut is_tree = false;
    let mut rest = tokens.iter();
    while let Some(token) = rest.next() {
        match token {
            TokenTree::Ident(ident) if ident == "as" => {
                alias = rest.next().map(ToString::to_string);
            }
            TokenTree::Ident(ident) => {
                line = ident.span().start().line;
                before.push(ident.to_string());
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                is_tree = true;
                for branch in inner.split(|token| token.to_string() == ",") {
                    import(branch, &mut before.clone(), module);
                }
            }
            _ => {}
        }
    }
    if before.len() > depth && !is_tree {
        if before.last().is_some_and(|last| last == "self") && before.len() > 1 {
            before.pop();
        }
        let name = alias.or_else(|| before.last().cloned()).unwrap_or_default();
        module.paths.push((line, before.clone()));
        module.imports.insert(name, before.clone());
    }
}

/// Collect the paths in code: words with `::` between them.
fn paths(tokens: &[TokenTree], module: &mut Module) {
    let mut path: Name = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if colons == 2 || path.is_empty() => {
                path.push(ident.to_string());
                colons = 0;
                if path.len() > 1 {
                    let line = ident.span().start().line;
                    module.paths.push((line, path.clone()));
                }
            }
            TokenTree::Ident(ident) => {
                path = vec![ident.to_string()];
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            other => {
                if let TokenTree::Group(group) = other {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    paths(&inner, module);
                }
                path.clear();
                colons = 0;
            }
        }
    }
}

/// The module to which a path in `from` refers, if it is in this crate.
fn resolve(modules: &Crate, from: &Name, path: &[String]) -> Option<Name> {
    resolve_within(modules, from, path, 8)
}

/// The same, through at most `exports` re-exports.
fn resolve_within(
    modules: &Crate,
    from: &Name,
    path: &[String],
    exports: usize,
) -> Option<Name> {
    let (first, rest) = path.split_first()?;
    let mut at = match first.as_str() {
        "crate" => Vec::new(),
        "self" => from.clone(),
        "super" => from[..from.len().checked_sub(1)?].to_vec(),
        _ => return step(modules, from, path, exports),
    };
    let mut rest = rest;
    while rest.first().is_some_and(|word| word == "super") {
        at.pop()?;
        rest = &rest[1..];
    }
    step(modules, &at, rest, exports).or(Some(at))
}

/// The module to which a path in the module `at` refers: a declared or an imported
/// one.
fn step(
    modules: &Crate,
    at: &Name,
    path: &[String],
    exports: usize,
) -> Option<Name> {
    let (first, rest) = path.split_first()?;
    let child = [at.as_slice(), std::slice::from_ref(first)].concat();
    if modules.contains_key(&child) {
        return step(modules, &child, rest, exports).or(Some(child));
    }
    let target = modules.get(at)?.imports.get(first)?;
    // `use a::b` in a module with the same name.
    let again = exports.checked_sub(1)?;
    let whole = [target.as_slice(), rest].concat();
    resolve_within(modules, at, &whole, again)
}

/// The imports that count: from a module to one that is not its descendant.
fn edges(modules: &Crate) -> BTreeMap<Name, BTreeMap<Name, usize>> {
    let mut edges: BTreeMap<Name, BTreeMap<Name, usize>> = BTreeMap::new();
    for (from, module) in modules {
        for (line, path) in &module.paths {
            let Some(to) = resolve(modules, from, path) else { continue };
            if !to.starts_with(from) {
                edges.entry(from.clone()).or_default().entry(to).or_insert(*line);
            }
        }
    }
    edges
}

/// One finding for each set of modules that import each other.
fn circles(modules: &Crate) -> Vec<Finding> {
    let edges = edges(modules);
    let mut told: BTreeSet<&Name> = BTreeSet::new();
    let mut found = Vec::new();
    for (start, module) in modules {
        if told.contains(start) {
            continue;
        }
        let Some(circle) = circle(&edges, start) else { continue };
        told.extend(
            circle.iter().filter_map(|name| {
                modules.get_key_value(*name).map(|(name, _)| name)
            }),
        );
        let line = edges[start][circle[1]];
        let names: Vec<String> = circle.iter().map(|name| shown(name)).collect();
        let what = format!("files import each other: {}", names.join(" -> "));
        let remedy = "move the shared code into a separate file";
        found.push(module.file.finding(line, what, remedy));
    }
    found
}

fn shown(name: &Name) -> String {
    if name.is_empty() { "crate".to_owned() } else { name.join("::") }
}

/// The shortest path from a module back to itself.
fn circle<'a>(
    edges: &'a BTreeMap<Name, BTreeMap<Name, usize>>,
    start: &'a Name,
) -> Option<Vec<&'a Name>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let next = way.last().and_then(|last| edges.get(*last));
            for to in next.into_iter().flat_map(BTreeMap::keys) {
                let new = [way.as_slice(), &[to]].concat();
                if to == start {
                    return Some(new);
                }
                if seen.insert(to) {
                    longer.push(new);
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{made_up, said};
    use super::*;

    fn found(files: &[(&str, &str)]) -> String {
        let path = |name: &str| format!("common/src/{name}.rs");
        let files: Vec<_> =
            files.iter().map(|(name, text)| (path(name), *text)).collect();
        let files: Vec<_> =
            files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        said(&cycles(&made_up(&files)))
    }

    #[test]
    fn a_parent_and_its_modules_may_use_each_other() {
        let good = [
            ("lib", "mod a;\nmod b;\npub use b::B;\nfn f() { a::g() }"),
            ("a", "mod c;\nuse crate::B;\nfn g() { c::h(); }"),
            ("a/c", "use super::super::b;\nuse super::g;\nfn h() { b::x() }"),
            ("b", "use std::fmt;\npub struct B;"),
        ];
        assert_eq!(found(&good), "");
    }

    #[test]
    fn files_that_import_each_other_are_found() {
        for (a, b) in [
            ("use crate::b::B;", "\nuse crate::a::A;"),
            ("use super::{b::{B, C}, x};", "\nfn f() { super::a::g() }"),
            ("use crate::B as D;", "\nfn f(g: [crate::a::A; 1]) {}"),
            ("use crate::b;\nfn f() { b::g() }", "\nuse crate::{a as c};"),
        ] {
            let files =
                [("lib", "mod a;\nmod b;\npub use b::B;"), ("a", a), ("b", b)];
            let found = found(&files);
            let wanted = "common/src/a.rs:1: files import each other: a -> b -> a: ";
            assert!(found.starts_with(wanted), "{a} {b}: {found}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
    }

    #[test]
    fn imports_of_tests_and_of_other_crates_do_not_count() {
        let files = [
            ("lib", "mod a;\nmod b;"),
            ("a", "use crate::b::B;"),
            ("b", "use other::a::A;\n#[cfg(test)]\nmod tests { use crate::a::A; }"),
        ];
        assert_eq!(found(&files), "");
    }

    #[test]
    fn a_cycle_of_three_files_through_a_parent_is_found() {
        let files = [
            ("lib", "mod a;\nmod b;"),
            ("a", "mod c;\nuse crate::b::B;"),
            ("a/c", "use super::A;"),
            ("b", "use crate::a::c::C;"),
        ];
        let found = found(&files);
        assert!(found.contains("a -> b -> a::c -> a"), "{found}");
    }
}
