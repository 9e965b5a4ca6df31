//! `cargo xtask exercise`: checks whether an exercise of the book is solved.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use common::step::Step;
use vm_init::grade::{Check, Status};
use vm_init::place;

use crate::build::{Built, build, build_chapters, build_exercises};
use crate::checkout::{expect_chapter, root, target};
use crate::grade::row::Row;
use crate::grade::{PROGRAM, VmArgs, listed, run_checks};
use crate::minimum;
use crate::mutants::{SOURCES, sync};
use crate::vm::qemu::{self, Qemu};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Exercises, such as ch02-uts-1, or all exercises of a chapter, such as
    /// ch02-uts
    #[arg(required_unless_present_any = ["list", "check"])]
    names: Vec<String>,

    /// List the exercises
    #[arg(long)]
    list: bool,

    /// Check that each exercise fails on the unchanged checkout, for the expected
    /// reason, and that its solution in tests/solutions, if it has one, solves it
    #[arg(long, conflicts_with = "list")]
    check: bool,

    #[command(flatten)]
    which: VmArgs,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    for name in &args.names {
        // A build takes a minute: refuse a mistyped name before.
        expect_chapter(name).or_else(|_| expect_chapter(chapter(name)))?;
    }
    let mut built = match args.check && args.names.is_empty() {
        true => build(&[PROGRAM])?,
        false => build_exercises(&chapters(&args.names), PROGRAM)?,
    };
    let all = listed(built.test(PROGRAM)?)?;
    let all: Vec<Check> =
        all.into_iter().filter(|check| check.group.starts_with("ch")).collect();
    if args.list {
        all.iter().for_each(|it| println!("{}: {}", it.group, sentence(it)));
        return Ok(());
    }
    let qemu = qemu::find()?;
    if args.check && args.names.is_empty() {
        let rows = rows(&built, &qemu, &all, &args.which)?;
        unsolved(&rows)?;
        minimum::check("exercises", rows.len(), 0)?;
        return solutions(&mut built, &qemu, &all, &args.which);
    }
    let chosen = select(&all, &args.names)?;
    let rows = rows(&built, &qemu, &chosen, &args.which)?;
    if args.check {
        return unsolved(&rows);
    }
    for row in &rows {
        print_row(row);
    }
    let solved = rows.iter().filter(|row| row.answer.status == Status::Pass).count();
    println!("\nexercises: {solved} of {} solved", rows.len());
    match solved == rows.len() {
        true => {
            rows.iter().filter_map(by_cargo).for_each(|command| {
                println!("run your code: {command}");
            });
            Ok(())
        }
        false => {
            let row = rows.iter().find(|it| it.answer.status != Status::Pass);
            let page = row.map_or("", |row| chapter(&row.check.group));
            bail!("not solved yet: book/src/{page}.md has a hint")
        }
    }
}

/// The command of the check that needs the solution, as the learner runs it on this
/// machine. A directory of the VM does not exist here.
fn by_cargo(row: &Row) -> Option<String> {
    let is_new = |command: &&String| {
        let word = row.check.before.trim_matches(['\'', '"']);
        !word.is_empty() && command.contains(word)
    };
    let mut commands = row.answer.commands.iter();
    let command = commands.clone().find(is_new).or_else(|| commands.next())?;
    if command.contains("/.tmp") {
        return Some(format!("cargo run -p {}", chapter(&row.check.group)));
    }
    let command = command.strip_prefix(place::CHAPTERS)?.strip_prefix('/')?;
    let (chapter, words) = command.split_once(' ').unwrap_or((command, ""));
    Some(format!("cargo run -p {chapter} -- {words}"))
}

fn sentence(check: &Check) -> String {
    check.name.replace('_', " ")
}

/// The exercises with these names, and all exercises of the chapters with these
/// names.
fn select(all: &[Check], names: &[String]) -> Result<Vec<Check>> {
    let means = |name: &String, check: &Check| {
        check.group == *name || chapter(&check.group) == name
    };
    for name in names {
        if !all.iter().any(|check| means(name, check)) {
            let of_chapter: Vec<&str> = all
                .iter()
                .map(|it| it.group.as_str())
                .filter(|group| chapter(group) == chapter(name))
                .collect();
            if !of_chapter.is_empty() {
                let groups = of_chapter.join(", ");
                bail!("exercise {name} not found: expected one of {groups}");
            }
            let known =
                all.iter().flat_map(|it| [&it.group[..], chapter(&it.group)]);
            let near = nearest(known, name);
            bail!("exercise {name} not found: {near}--list shows all");
        }
    }
    let chosen =
        all.iter().filter(|check| names.iter().any(|name| means(name, check)));
    Ok(chosen.cloned().collect())
}

/// "did you mean ...?", if one of the known names is similar.
pub(crate) fn nearest<'a>(
    known: impl Iterator<Item = &'a str>,
    name: &str,
) -> String {
    let rated = known.map(|known| (strsim::damerau_levenshtein(known, name), known));
    // If two names are equally similar, suggest the exercise, not its chapter.
    match rated.min_by_key(|(distance, known)| (*distance, Reverse(known.len()))) {
        Some((distance, known)) if distance <= 2 => {
            format!("did you mean {known}? ")
        }
        _ => String::new(),
    }
}

fn rows(
    built: &Built,
    qemu: &Qemu,
    checks: &[Check],
    which: &VmArgs,
) -> Result<Vec<Row>> {
    run_checks(built, qemu, checks, which, built.libraries()?)
}

fn print_row(row: &Row) {
    let (group, sentence) = (&row.check.group, row.sentence());
    match row.answer.status {
        Status::Pass => println!("{group}: {sentence} ... solved"),
        _ => {
            println!("{group}: {sentence} ... not yet");
            row.explanation().iter().for_each(|line| println!("    {line}"));
        }
    }
}

/// Check that each exercise fails, for the expected reason. An exercise that passes,
/// or fails for another reason, tests nothing.
fn unsolved(rows: &[Row]) -> Result<()> {
    let mut wrong = 0;
    for row in rows {
        let Row { check, answer, .. } = row;
        let fails = matches!(answer.status, Status::Fail | Status::Error);
        let reason =
            !check.before.is_empty() && answer.actual.contains(&check.before);
        if fails && reason && !answer.expected.is_empty() && answer.left.is_empty() {
            let seconds = row.milliseconds as f64 / 1000.0;
            println!("{}: unsolved, as expected ({seconds:.2}s)", check.group);
            continue;
        }
        wrong += 1;
        println!(
            "{}: WRONG, {:?} with {:?}",
            check.group, answer.status, check.before
        );
        row.explanation().iter().for_each(|line| println!("    {line}"));
    }
    println!("\nexercises: {} unsolved, {wrong} wrong", rows.len() - wrong);
    match wrong {
        0 => Ok(()),
        count => bail!("{count} exercises do not fail as expected"),
    }
}

/// Apply all solutions to a copy of the checkout, and check that each exercise is
/// solved.
fn solutions(
    built: &mut Built,
    qemu: &Qemu,
    all: &[Check],
    which: &VmArgs,
) -> Result<()> {
    let patches = patches()?;
    covered(all, &patches)?;
    let directory = target().join("solutions");
    let checkout = directory.join("checkout");
    for source in SOURCES {
        sync(&root().join(source), &checkout.join(source))?;
    }
    for (name, text) in &patches {
        apply(name, text, &checkout)?;
    }
    let programs = build_chapters(&checkout, &directory.join("target"), None)
        .context("the checkout with the solutions cannot be built")?;
    built.replace_chapters(&programs, true)?;
    let solved: Vec<Check> = all
        .iter()
        .filter(|check| patches.contains_key(&check.group))
        .cloned()
        .collect();
    let rows = rows(built, qemu, &solved, which)?;
    rows.iter().for_each(print_row);
    let missing =
        rows.iter().filter(|row| row.answer.status != Status::Pass).count();
    println!("\nsolutions: {} pass, {missing} fail", rows.len() - missing);
    minimum::check("solutions", rows.len(), 0)?;
    match missing {
        0 => Ok(()),
        count => bail!("{count} solutions do not solve their exercise"),
    }
}

/// The chapters that these exercises need. A name without a chapter is reported
/// later, with a suggestion.
fn chapters(names: &[String]) -> Vec<&str> {
    let exists = |name: &&str| root().join("chapters").join(name).is_dir();
    let found = names.iter().filter_map(|name| {
        Some(name.as_str())
            .filter(exists)
            .or_else(|| Some(chapter(name)).filter(exists))
    });
    let mut found: Vec<&str> = found.collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The chapter's name in the name of an exercise.
fn chapter(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(chapter, _)| chapter)
}

/// Check that each patch belongs to an exercise, and that each chapter has a patch.
fn covered(all: &[Check], patches: &BTreeMap<String, String>) -> Result<()> {
    for name in patches.keys() {
        if !all.iter().any(|check| check.group == *name) {
            bail!("tests/solutions/{name}.patch belongs to no exercise");
        }
    }
    for check in all {
        let wanted = chapter(&check.group);
        if !patches.keys().any(|name| chapter(name) == wanted) {
            bail!("no patch in tests/solutions/ solves an exercise of {wanted}");
        }
    }
    Ok(())
}

/// Apply a unified diff of one or more files.
pub fn apply(name: &str, text: &str, checkout: &Path) -> Result<()> {
    for part in text.split("\n--- a/").skip(1) {
        let part = format!("--- a/{}\n", part.trim_end_matches('\n'));
        let path = part.lines().find_map(|line| line.strip_prefix("+++ b/"));
        let path =
            checkout.join(path.with_context(|| format!("{name}: no +++ b/"))?);
        let shown = path.display();
        let stale =
            || format!("{name} does not apply to {shown}: regenerate the patch");
        let patch = diffy::Patch::from_str(&part).with_context(stale)?;
        let before =
            fs::read_to_string(&path).step(|| format!("read(2) {shown}"))?;
        let after = diffy::apply(&before, &patch).with_context(stale)?;
        fs::write(&path, after).step(|| format!("write(2) {shown}"))?;
    }
    Ok(())
}

/// The patches, by the name of the exercise. Each patch begins with a line that
/// describes the solution; a unified diff follows.
pub fn patches() -> Result<BTreeMap<String, String>> {
    let directory = root().join("tests/solutions");
    let step = || format!("readdir(3) {}", directory.display());
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&directory).step(step)? {
        let path = entry.step(step)?.path();
        let text = fs::read_to_string(&path)
            .step(|| format!("read(2) {}", path.display()))?;
        let name =
            path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.insert(name, text);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exercises that pages name as `cargo xtask exercise NAME`.
    fn on_pages() -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(root().join("book/src")).unwrap().flatten() {
            let path = entry.path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            if !stem.starts_with("ch0") {
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            for rest in text.split("`cargo xtask exercise ").skip(1) {
                let name = rest.split('`').next().unwrap().to_owned();
                assert_eq!(chapter(&name), stem, "{name} is on the page {stem}");
                found.push(name);
            }
        }
        found.sort();
        found
    }

    #[test]
    fn the_pages_and_the_checks_have_the_same_exercises() {
        let tables =
            fs::read_dir(root().join("tests/tests/grade/exercises")).unwrap();
        let text: String = tables
            .map(|table| fs::read_to_string(table.unwrap().path()).unwrap())
            .collect();
        let mut checks: Vec<String> = text
            .split('"')
            .filter(|word| {
                word.starts_with("ch0") && word.ends_with(['1', '2', '3'])
            })
            .map(str::to_owned)
            .collect();
        checks.sort();
        // Each chapter has three exercises.
        assert!(checks.chunks(3).all(|three| three.len() == 3
            && three.iter().all(|name| chapter(name) == chapter(&three[0]))));
        assert_eq!(on_pages(), checks);
    }

    #[test]
    fn a_patch_of_two_files_is_applied_to_both() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x", "y"] {
            fs::write(dir.path().join(name), "one\nend\n").unwrap();
        }
        let part = |name| {
            format!(
                "--- a/{name}\n+++ b/{name}\n@@ -1,2 +1,2 @@\n-one\n+two\n end\n"
            )
        };
        let text = format!("what it does\n{}{}", part("x"), part("y"));
        apply("n", &text, dir.path()).unwrap();
        for name in ["x", "y"] {
            let text = fs::read_to_string(dir.path().join(name)).unwrap();
            assert_eq!(text, "two\nend\n");
        }
        let error = apply("n", &text, dir.path()).unwrap_err().to_string();
        assert!(error.contains("regenerate the patch"), "{error}");
    }

    #[test]
    fn every_solution_applies_to_the_checkout() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in patches().unwrap() {
            for path in text.lines().filter_map(|line| line.strip_prefix("+++ b/")) {
                // All solutions are applied to one copy, as `--check` does.
                let copy = dir.path().join(path);
                if !copy.exists() {
                    fs::create_dir_all(copy.parent().unwrap()).unwrap();
                    fs::copy(root().join(path), &copy).unwrap();
                }
            }
            apply(&name, &text, dir.path()).unwrap();
        }
    }

    #[test]
    fn a_mistyped_name_has_a_suggestion() {
        let near = |name| {
            let known = ["ch02-uts-1", "ch02-uts", "ch04-volume-2", "ch04-volume"];
            nearest(known.into_iter(), name)
        };
        assert_eq!(near("ch02-uts1"), "did you mean ch02-uts-1? ");
        assert_eq!(near("ch04-volum"), "did you mean ch04-volume? ");
        assert_eq!(near("volume"), "");
    }
}
