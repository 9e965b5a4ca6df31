//! Limits of size: a file has one idea, and a chapter's library is read in one
//! sitting.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::items::{Item, items};
use super::{Checkout, File, Finding};

/// The maximum lines of code of a file. Blank lines, comments and tests do not
/// count.
const FILE: usize = 300;

/// The maximum lines of code of a chapter's library: all files of its src except
/// main.rs.
const LIBRARY: usize = 600;

/// Files and libraries that may be longer, each with the reason.
const EXCEPTIONS: [(&str, &str); 14] = [
    (
        "common/examples/straight_line.rs",
        "the reference of a benchmark: all system calls of a run in straight-line code",
    ),
    (
        "tests/tests/blackbox/ch02_union.rs",
        "its functions are the bodies of tests that run once with each driver",
    ),
    (
        "chapters/ch02-cgroups/src",
        "each operation exists twice, for v1 and for v2: the page says so",
    ),
    (
        "chapters/ch02-net/src",
        "netlink, devices, addresses and routes, which the chapters of networks use",
    ),
    (
        "chapters/ch02-union/src",
        "three drivers that the page compares, each with its own rules",
    ),
    (
        "chapters/ch03-limits/src",
        "the values of eight controllers, read in the forms that users write",
    ),
    (
        "chapters/ch04-image/src",
        "the store that all later chapters share: names, records, locks, the sweep",
    ),
    (
        "chapters/ch04-save/src",
        "two formats of archives, read and written, and eight commands",
    ),
    (
        "chapters/ch06-connect/src",
        "the messages of nf_tables and of the connection tracking, beside the parts",
    ),
    (
        "chapters/ch06-ports/src",
        "reading -p, reserving the ports, and the proxy of an ordinary user",
    ),
    (
        "chapters/ch07-pull/src",
        "downloads, uploads and what is shown of both: the page compares the two ways",
    ),
    (
        "chapters/ch07-registry/src",
        "a whole client: names, URLs, proxies, TLS, tokens, logins and manifests",
    ),
    (
        "chapters/ch07-system/src",
        "many small commands, a file each, and the lists of all commands",
    ),
    (
        "chapters/ch06-network/src",
        "a network's whole life: subnet, record, addresses, bridge and five commands",
    ),
];

const PLACES: [&str; 4] = ["chapters", "common", "tests", "xtask"];

/// Find files and libraries that are too long, and exceptions that are not needed.
pub(super) fn too_long(checkout: &Checkout) -> Vec<Finding> {
    check(checkout, &EXCEPTIONS)
}

fn check(checkout: &Checkout, exceptions: &[(&str, &str)]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut libraries: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut used = Vec::new();
    let mut judge = |path: &Path, lines: usize, limit: usize| {
        let exception = exceptions.iter().find(|(it, _)| path == Path::new(it));
        used.extend((lines > limit).then_some(exception).flatten());
        if lines > limit && exception.is_none() {
            let what = format!("{lines} lines of code, but the limit is {limit}");
            let remedy = "split it by ideas, or add an exception with a reason to \
                          xtask/src/tidy/size.rs"
                .to_owned();
            found.push(Finding { path: path.to_owned(), line: 1, what, remedy });
        }
    };
    for file in PLACES.iter().flat_map(|place| checkout.below(place, "rs")) {
        let lines = code(file);
        judge(&file.path, lines, FILE);
        let source = file.path.ancestors().find(|path| path.ends_with("src"));
        if let Some(source) = source
            && file.path.starts_with("chapters")
            && !file.path.ends_with("main.rs")
        {
            *libraries.entry(source.to_owned()).or_default() += lines;
        }
    }
    for (source, lines) in libraries {
        judge(&source, lines, LIBRARY);
    }
    for exception in exceptions.iter().filter(|it| !used.contains(it)) {
        let what = "this exception from the size limits is not needed".to_owned();
        let remedy = "remove it from xtask/src/tidy/size.rs".to_owned();
        found.push(Finding { path: exception.0.into(), line: 1, what, remedy });
    }
    found
}

/// The number of lines of code of a file.
fn code(file: &File) -> usize {
    let mut tests = Vec::new();
    test_lines(&items(file), &mut tests);
    let counts = |(number, line): &(usize, &str)| {
        let line = line.trim();
        let is_text = line.is_empty() || line.starts_with("//");
        !is_text && !tests.iter().any(|lines| lines.contains(number))
    };
    file.lines().filter(counts).count()
}

/// The lines of tests, including those in an inline module.
fn test_lines(items: &[Item], found: &mut Vec<RangeInclusive<usize>>) {
    for item in items {
        match item.is_test {
            true => found.push(item.lines()),
            false => test_lines(&item.inner(), found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{made_up, said};
    use super::*;

    #[test]
    fn blank_lines_comments_and_tests_do_not_count() {
        let text = "//! About.\n\nfn f() {\n    // Why.\n    g();\n}\n\n#[cfg(test)]\n\
                    mod tests {\n    fn h() {}\n}\n";
        assert_eq!(code(&made_up(&[("x.rs", text)]).files[0]), 3);
        let text = "mod a {\n    #[test]\n    fn b() {\n    }\n    fn c() {}\n}\n";
        assert_eq!(code(&made_up(&[("x.rs", text)]).files[0]), 3);
    }

    #[test]
    fn a_file_that_is_too_long_is_found() {
        let limit = "fn f() {}\n".repeat(FILE);
        let found = |text: &str, exceptions: &[(&str, &str)]| {
            said(&check(&made_up(&[("common/src/a.rs", text)]), exceptions))
        };
        assert_eq!(found(&limit, &[]), "");
        let longer = format!("{limit}fn g() {{}}\n");
        let wanted = "common/src/a.rs:1: 301 lines of code, but the limit is 300";
        assert!(found(&longer, &[]).starts_with(wanted));
        let exception = [("common/src/a.rs", "a table")];
        assert_eq!(found(&longer, &exception), "");
        assert!(found(&limit, &exception).contains("exception"));
    }

    #[test]
    fn the_size_of_a_chapters_library_is_limited_without_its_main() {
        let text = "fn f() {}\n".repeat(FILE);
        let found = |last: &str| {
            let path = |name: &str| format!("chapters/a/src/{name}.rs");
            let paths = ["main", "lib", "b/c"].map(path);
            let mut files: Vec<_> =
                paths.iter().map(|path| (path.as_str(), text.as_str())).collect();
            files.push(("chapters/a/src/d.rs", last));
            said(&check(&made_up(&files), &[]))
        };
        assert_eq!(found(""), "");
        let wanted = "chapters/a/src:1: 601 lines of code, but the limit is 600";
        assert!(found("fn g() {}\n").starts_with(wanted));
    }
}
