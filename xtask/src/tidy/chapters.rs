//! Each chapter is complete, and depends only on earlier chapters.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Checkout, File, Finding};

/// Every list of parts begins with its `User::if_needed()`, so that an ordinary user
/// can run each chapter: `book/src/design/user-namespace-first.md`.
const USED_BY_ALL: &str = "ch02-user";

/// The names of the chapters.
fn chapters(checkout: &Checkout) -> BTreeSet<&str> {
    let name = |file: &'_ File| file.path.iter().nth(1)?.to_str().map(str::len);
    let files =
        checkout.files.iter().filter(|file| file.path.starts_with("chapters"));
    let named = files.filter(|file| name(file).is_some());
    named.filter_map(|file| file.path.iter().nth(1)?.to_str()).collect()
}

/// The position of a chapter's page in SUMMARY.md, which is its place in the book.
fn place(checkout: &Checkout, chapter: &str) -> Option<usize> {
    let summary = checkout.file(Path::new("book/src/SUMMARY.md"))?;
    summary.text.find(&format!("]({chapter}.md)"))
}

/// Chapters depend on earlier chapters only, and `common` depends on no chapter.
pub(super) fn edges(checkout: &Checkout) -> Vec<Finding> {
    let all = chapters(checkout);
    let manifests = checkout.files.iter().filter(|file| {
        let package =
            file.path.starts_with("chapters") || file.path.starts_with("common");
        package && file.path.ends_with("Cargo.toml")
    });
    let mut found = Vec::new();
    for manifest in manifests {
        let from = manifest.path.iter().nth(1).and_then(|name| name.to_str());
        let from = from.filter(|name| all.contains(name));
        for (line, to) in dependencies(manifest) {
            if !all.contains(to) {
                continue;
            }
            let Some(from) = from else {
                let what = format!("common depends on the chapter {to}");
                let remedy = "move the shared code into common, or the dependent code into a chapter";
                found.push(manifest.finding(line, what, remedy));
                continue;
            };
            let earlier = place(checkout, to) < place(checkout, from);
            if !earlier && to != USED_BY_ALL {
                let what =
                    format!("{from} depends on {to}, which comes later in the book");
                let remedy =
                    "use only earlier chapters, or move the shared code to common";
                found.push(manifest.finding(line, what, remedy));
            }
        }
    }
    found
}

/// The dependencies of a manifest, each with its line number.
fn dependencies(manifest: &File) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in manifest.lines() {
        if let Some(table) = line.trim().strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside = table.ends_with("dependencies");
            // A separate table: [dependencies.ch02-uts].
            let own = table.split_once("dependencies.").map(|(_, name)| name);
            found.extend(own.map(|name| (number, name.trim_matches('"'))));
        } else if inside {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            found.push((number, line[..end].trim_matches('"')));
        }
        // A renamed dependency.
        let package = line.split_once("package = \"").map(|(_, rest)| rest);
        let package = package.and_then(|rest| rest.split('"').next());
        found.extend(package.map(|name| (number, name)));
    }
    found
}

/// Each chapter has a page, an entry in the summary, tests, and a mutant.
pub(super) fn complete(checkout: &Checkout) -> Vec<Finding> {
    let mut found = Vec::new();
    for chapter in chapters(checkout) {
        let module = chapter.replace('-', "_");
        let tests = "tests/tests/blackbox";
        let mut miss = |path: PathBuf, what: &str, remedy: &str| {
            let what = format!("the chapter {chapter} {what}");
            found.push(Finding { path, line: 1, what, remedy: remedy.to_owned() });
        };
        let page = PathBuf::from(format!("book/src/{chapter}.md"));
        if checkout.file(&page).is_none() {
            miss(page, "has no page", "write the page");
        }
        if place(checkout, chapter).is_none() {
            let remedy = "add its page to the summary";
            miss("book/src/SUMMARY.md".into(), "is not in the summary", remedy);
        }
        let file = PathBuf::from(format!("{tests}/{module}.rs"));
        let main = checkout.file(&Path::new(tests).join("main.rs"));
        let declares = |main: &File| {
            let wanted = format!("mod {module};");
            main.lines().any(|(_, line)| line.trim() == wanted)
        };
        let has_tests = |file: &File| file.text.contains("#[test]");
        if !checkout.file(&file).is_some_and(has_tests)
            || !main.is_some_and(declares)
        {
            let remedy = "write tests, and declare the module in main.rs";
            miss(file, "has no black-box tests", remedy);
        }
        let source = format!("+++ b/chapters/{chapter}/");
        let mut mutants = checkout.below("tests/mutants", "patch");
        if !mutants.any(|patch| patch.text.contains(&source)) {
            let path = format!("tests/mutants/{chapter}.patch").into();
            miss(
                path,
                "has no mutant",
                "add a patch that breaks the line that the chapter is about",
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{made_up, said};
    use super::*;

    const SUMMARY: (&str, &str) = (
        "book/src/SUMMARY.md",
        "- [A](ch01-a.md)\n- [U](ch02-user.md)\n- [B](ch03-b.md)\n",
    );

    fn edge(path: &str, text: &str) -> String {
        let chapter = |name: &str| format!("chapters/{name}/src/lib.rs");
        let chapters = ["ch01-a", "ch02-user", "ch03-b"].map(chapter);
        let mut files = vec![SUMMARY, (path, text)];
        files.extend(chapters.iter().map(|path| (path.as_str(), "")));
        said(&edges(&made_up(&files)))
    }

    #[test]
    fn a_dependency_on_a_later_chapter_is_found_except_for_the_user_namespace() {
        let (a, b) = ("chapters/ch01-a/Cargo.toml", "chapters/ch03-b/Cargo.toml");
        let good = "[dependencies]\nch01-a.workspace = true\nch02-user = \"1\"\n";
        assert_eq!(edge(b, good), "");
        assert_eq!(edge(a, "[dependencies]\nch02-user.workspace = true\n"), "");
        assert_eq!(edge(a, "[package]\nch03-b = 1\n"), "");
        for text in [
            "[dependencies]\nch03-b.workspace = true\n",
            "[dev-dependencies]\nch03-b = { workspace = true }\n",
            "\n[target.'cfg(unix)'.dependencies.ch03-b]\n",
            "[dependencies]\nb = { path = \"x\", package = \"ch03-b\" }\n",
        ] {
            let found = edge(a, text);
            let wanted = "Cargo.toml:2: ch01-a depends on ch03-b, which comes later";
            assert!(found.contains(wanted), "{text}: {found}");
        }
        let found = edge("common/Cargo.toml", "[dependencies]\nch01-a = \"1\"\n");
        assert!(found.contains("common depends on the chapter ch01-a"), "{found}");
    }

    #[test]
    fn each_missing_item_of_a_chapter_is_found() {
        let whole = [
            ("book/src/SUMMARY.md", "- [A](ch01-a.md)\n"),
            ("book/src/ch01-a.md", ""),
            ("chapters/ch01-a/src/lib.rs", ""),
            ("tests/tests/blackbox/ch01_a.rs", "#[test]\n"),
            ("tests/tests/blackbox/main.rs", "mod ch01_a;\n"),
            ("tests/mutants/x.patch", "+++ b/chapters/ch01-a/src/lib.rs\n"),
        ];
        assert_eq!(said(&complete(&made_up(&whole))), "");
        for (lacks, wanted) in [
            (0, "book/src/SUMMARY.md:1: the chapter ch01-a is not in the summary"),
            (1, "book/src/ch01-a.md:1: the chapter ch01-a has no page"),
            (3, "ch01_a.rs:1: the chapter ch01-a has no black-box tests"),
            (4, "ch01_a.rs:1: the chapter ch01-a has no black-box tests"),
            (5, "ch01-a.patch:1: the chapter ch01-a has no mutant"),
        ] {
            let mut files = whole.to_vec();
            files.remove(lacks);
            let found = said(&complete(&made_up(&files)));
            assert!(found.contains(wanted), "{found}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
    }
}
