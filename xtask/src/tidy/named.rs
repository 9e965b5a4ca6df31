//! The tests that pages name in tables exist, so that a renamed test is noticed.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Checkout, Finding};

/// The page with a numbered table in which each row names a test.
const REPORTS: &str = "book/src/network-reports.md";

/// The text of a row without a test.
const LATER: &str = "later chapter";

/// Find names of tests that do not exist, and rows without a test.
pub(super) fn tests(checkout: &Checkout) -> Vec<Finding> {
    let tests = Tests::of(checkout);
    let mut found = Vec::new();
    for page in checkout.pages() {
        let rows = page.lines().filter(|(_, line)| line.starts_with('|'));
        for (number, row) in rows {
            let names: Vec<&str> =
                row.split('`').skip(1).step_by(2).filter(|it| is_path(it)).collect();
            for name in names.iter().filter(|name| !tests.has(name)) {
                let what = format!("test {name} does not exist");
                let remedy = "name an existing test with its modules";
                found.push(page.finding(number, what, remedy));
            }
            let first = row.split('|').nth(1).unwrap_or_default().trim();
            let is_report =
                page.path == Path::new(REPORTS) && first.parse::<u8>().is_ok();
            if is_report && names.is_empty() && !row.contains(LATER) {
                let what = format!("row {first} names no test");
                let remedy = "name the test that covers it";
                found.push(page.finding(number, what, remedy));
            }
        }
    }
    found
}

/// `ch06_ports::a_test`: at least a module and a name of several words.
fn is_path(text: &str) -> bool {
    let words = |word: &str| {
        let fits = |letter: char| {
            letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
        };
        !word.is_empty() && word.chars().all(fits)
    };
    let name = text.rsplit("::").next().unwrap_or_default();
    text.contains("::")
        && text.split("::").all(words)
        && name.matches('_').count() > 1
}

/// The names of all tests, each with the files that contain a test of this name.
struct Tests<'a>(BTreeMap<&'a str, Vec<&'a Path>>);

impl Tests<'_> {
    fn of(checkout: &Checkout) -> Tests<'_> {
        let mut all: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
        for directory in ["chapters", "common", "tests", "xtask"] {
            for file in checkout.below(directory, "rs") {
                let mut is_test = false;
                for line in file.text.lines().map(str::trim) {
                    if line.starts_with("#[") {
                        is_test |= line == "#[test]";
                        continue;
                    }
                    if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test)
                    {
                        let name = rest.split('(').next().unwrap_or_default();
                        all.entry(name).or_default().push(&file.path);
                    }
                    is_test = false;
                }
            }
        }
        Tests(all)
    }

    /// Whether a test with this name exists in a file whose path contains these
    /// modules. The module `tests` may be inside the file.
    fn has(&self, path: &str) -> bool {
        let mut modules: Vec<&str> = path.split("::").collect();
        let name = modules.pop().unwrap_or_default();
        let holds = |file: &&Path| {
            let parts: Vec<String> = file
                .iter()
                .map(|part| part.to_string_lossy().replace('-', "_"))
                .collect();
            modules.iter().all(|module| {
                let in_path =
                    |part: &String| part.trim_end_matches(".rs") == *module;
                *module == "tests" || parts.iter().any(in_path)
            })
        };
        self.0.get(name).is_some_and(|files| files.iter().any(holds))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{made_up, said};

    #[test]
    fn a_renamed_test_and_a_row_without_a_test_are_found() {
        let code = "#[test]\n#[file_serial(machine)]\nfn it_is_so() {}\n\n\
                    fn no_test_of_ours() {}\n";
        let found = |row: &str| {
            let page =
                format!("Prose: `ch01_a::not_in_tables`.\n\n| | |\n|-|-|\n{row}\n");
            let files = [
                ("tests/tests/blackbox/ch01_a.rs", code),
                (super::REPORTS, page.as_str()),
            ];
            said(&super::tests(&made_up(&files)))
        };
        assert_eq!(found("| 1 | `ch01_a::it_is_so` |"), "");
        assert_eq!(found("| 1 | in a later chapter |"), "");
        assert_eq!(found("| text | `common::poll` |"), "");
        let missing =
            "book/src/network-reports.md:5: test ch01_a::it_was_so does not exist";
        assert!(found("| 1 | `ch01_a::it_was_so` |").starts_with(missing));
        assert!(
            found("| 1 | `ch01_a::no_test_of_ours` |").contains("does not exist")
        );
        assert!(found("| 1 | `ch02_b::it_is_so` |").contains("test ch02_b"));
        assert!(found("| 1 | nothing |").contains("row 1 names no test"));
    }
}
