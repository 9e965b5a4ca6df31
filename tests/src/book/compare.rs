//! Comparing the output with the page.

use std::fmt::Write as _;

use similar::{ChangeTag, TextDiff};

use super::varies::{Known, Varies};

/// The line that a chapter prints once per run for an ordinary user. Pages omit it,
/// as the introduction explains.
const NOT_ROOT: &str = "not root: in a user namespace of its own (ch02-user)";

/// The lines of a text, without this line unless the page shows it.
pub(crate) fn lines<'a>(page: &[String], seen: &'a str) -> Vec<&'a str> {
    let shows = page.iter().any(|line| line.starts_with(NOT_ROOT));
    let left_out = |line: &&str| !shows && line.starts_with(NOT_ROOT);
    seen.lines().filter(|line| !left_out(line)).collect()
}

/// Compare. The error is a diff; the page's lines are marked by `-`.
pub(crate) fn compare(
    page: &[String],
    seen: &str,
    varies: &[Varies],
    known: &mut Known,
) -> Result<(), String> {
    let seen = lines(page, seen);
    let mut trial = known.clone();
    let mut pairs = page.iter().zip(&seen);
    if page.len() == seen.len()
        && pairs.all(|(page, seen)| trial.same(page, seen, varies))
    {
        *known = trial;
        return Ok(());
    }
    // Varying examples do not count as differences.
    let line = |page: &String| {
        let same = seen.iter().find(|seen| known.same(page, seen, varies));
        same.map_or_else(|| known.put_into(page, varies), |seen| (*seen).to_owned())
    };
    let page: Vec<String> = page.iter().map(line).collect();
    let page: Vec<&str> = page.iter().map(String::as_str).collect();
    let mut text = String::from("the page (-) and the terminal (+):\n");
    for change in TextDiff::from_slices(&page, &seen).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Equal => ' ',
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        let _ = writeln!(text, "  {sign}{}", change.value());
    }
    Err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(page: &[&str], seen: &str) -> Result<(), String> {
        let page: Vec<String> = page.iter().map(|line| (*line).to_owned()).collect();
        let varies = vec![Varies::parse("135 is a pid").unwrap()];
        compare(&page, seen, &varies, &mut Known::default())
    }

    #[test]
    fn an_additional_missing_or_changed_line_is_a_difference() {
        assert_eq!(compared(&["a", "b"], "a\nb\n"), Ok(()));
        for seen in ["a\n", "a\nb\nc\n", "a\nB\n", "b\na\n", "", "a\nb \n"] {
            assert!(compared(&["a", "b"], seen).is_err(), "{seen:?}");
        }
        assert!(compared(&[], "a\n").is_err());
    }

    #[test]
    fn the_diff_shows_differences_but_not_varying_values() {
        let diff = compared(&["pid 135", "box"], "pid 7\nbag\n").unwrap_err();
        assert!(diff.contains("   pid 7\n  -box\n  +bag\n"), "{diff}");
    }

    #[test]
    fn the_line_for_ordinary_users_may_be_omitted() {
        let seen = format!("{NOT_ROOT}\nbox\n");
        assert_eq!(compared(&["box"], &seen), Ok(()));
        assert_eq!(compared(&[NOT_ROOT, "box"], &seen), Ok(()));
        assert!(compared(&[NOT_ROOT, "box"], "box\n").is_err());
    }
}
