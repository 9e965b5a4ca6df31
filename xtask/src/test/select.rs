//! Listing and selecting tests.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{NETWORK_PROGRAMS, NETWORKS, PACKAGED, skips};
use crate::build::Built;
use crate::vm::Cgroup;

/// The names of a test program's tests. For the programs of `networks`, they begin
/// with the program's name.
///
/// # Errors
/// There is no such program, or it fails to list its tests.
pub(crate) fn listed(built: &Built, program: &str) -> Result<Vec<String>> {
    if program != NETWORKS {
        return of_program(built, program, &[]);
    }
    let mut all = Vec::new();
    for program in NETWORK_PROGRAMS {
        // Ignored: a measurement, and a test that another test runs in its own
        // process.
        let ignored = of_program(built, program, &["--ignored"])?;
        let tests = of_program(built, program, &[])?;
        let tests = tests.iter().filter(|test| !ignored.contains(test));
        all.extend(tests.map(|test| format!("{program}::{test}")));
    }
    Ok(all)
}

/// The program of a test, and the test's name in it.
pub(crate) fn located<'a>(program: &'a str, test: &'a str) -> (&'a str, &'a str) {
    match test.split_once("::").filter(|_| program == NETWORKS) {
        Some(located) => located,
        None => (program, test),
    }
}

fn of_program(
    built: &Built,
    program: &str,
    options: &[&str],
) -> Result<Vec<String>> {
    let program = built.test(program)?;
    let output = Command::new(program)
        .args(["--list", "--format", "terse"])
        .args(options)
        .env("MYDOCKER_SOURCE", &built.pages)
        .output()
        .with_context(|| program.display().to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{} --list:\n{}", program.display(), said.trim());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let tests = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(tests.map(str::to_owned).collect())
}

/// The tests that the default machine skips.
pub(crate) fn usually_skipped(tests: &[String]) -> Vec<String> {
    let skipped = |test: &&String| {
        let expected = skips::expected(PACKAGED[0], Some(Cgroup::V2), test);
        matches!(expected, skips::Expected::Yes(_))
    };
    tests.iter().filter(skipped).cloned().collect()
}

/// The tests that match one of the words; all tests if there are no words.
pub(crate) fn select(all: Vec<String>, words: &[String]) -> Result<Vec<String>> {
    if words.is_empty() {
        return Ok(all);
    }
    let means = |word: &String, name: &str| {
        let chapter = name.split("::").next().unwrap_or(name);
        name.contains(word.as_str()) || chapter.contains(&word.replace('-', "_"))
    };
    // A word with a typo is an error, even if other words match.
    for word in words {
        if !all.iter().any(|name| means(word, name)) {
            bail!(
                "no chapter and no test's name contains {word:?}: --list shows all"
            );
        }
    }
    Ok(all
        .into_iter()
        .filter(|name| words.iter().any(|word| means(word, name)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["ch02_uts::host_name", "ch04_volume::kept", "lab::a_leak"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn a_filter_is_a_chapter_or_a_part_of_a_name() {
        let select = |words: &[&str]| {
            let words: Vec<_> =
                words.iter().map(|word| (*word).to_owned()).collect();
            select(names(), &words)
        };
        assert_eq!(select(&[]).unwrap(), names());
        assert_eq!(select(&["ch04-volume"]).unwrap(), ["ch04_volume::kept"]);
        assert_eq!(select(&["leak", "ch02"]).unwrap().len(), 2);
        assert_eq!(select(&["lab::a_leak"]).unwrap(), ["lab::a_leak"]);
        let error = select(&["kept", "ch99"]).unwrap_err();
        assert!(error.to_string().contains("\"ch99\""), "{error}");
    }
}
