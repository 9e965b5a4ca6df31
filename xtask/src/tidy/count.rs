//! The numbers of tests in the README.

use std::path::Path;

use anyhow::Result;

use super::{Checkout, File, Finding};
use crate::build::build;
use crate::test;

/// The README must state the actual numbers of tests.
pub(super) fn count(checkout: &Checkout) -> Result<Vec<Finding>> {
    let Some(readme) = checkout.file(Path::new("README.md")) else {
        return Ok(Vec::new());
    };
    let tests = test::listed(&build(&[])?, "blackbox")?;
    Ok(numbers(readme, &tests, &test::usually_skipped(&tests)))
}

/// Check `running 9 tests` and libtest's result line with the passed and ignored
/// tests.
fn numbers(readme: &File, tests: &[String], skipped: &[String]) -> Vec<Finding> {
    let all = tests.len();
    let ignored = skipped.len();
    let wanted = [
        ("running ", format!("{all} tests")),
        (
            "test result: ok. ",
            format!("{} passed; 0 failed; {ignored} ignored;", all - ignored),
        ),
    ];
    let mut found = Vec::new();
    for (start, wanted) in wanted {
        let lines: Vec<_> =
            readme.lines().filter(|(_, line)| line.starts_with(start)).collect();
        for (number, line) in &lines {
            if !line[start.len()..].starts_with(&wanted) {
                let what = format!("{line:?} has wrong numbers");
                found.push(readme.finding(
                    *number,
                    what,
                    &format!("write {wanted:?}"),
                ));
            }
        }
        if lines.is_empty() {
            let what = format!("no line begins with {start:?}");
            found.push(readme.finding(1, what, &format!("write {wanted:?}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;

    #[test]
    fn a_wrong_number_is_found() {
        let found = |text: &str| {
            let readme = File { path: "README.md".into(), text: text.to_owned() };
            let tests = ["a", "b", "c"].map(str::to_owned);
            said(&numbers(&readme, &tests, &tests[..1]))
        };
        let good = "\nrunning 3 tests in a VM\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0\n";
        assert_eq!(found(good), "");
        let bad = found(&good.replace("running 3", "running 13"));
        assert!(
            bad.starts_with("README.md:2: ") && bad.contains("3 tests"),
            "{bad}"
        );
        let bad = found(&good.replace("2 passed", "3 passed"));
        assert!(bad.starts_with("README.md:3: "), "{bad}");
        assert_eq!(found("").lines().count(), 2);
    }
}
