//! `cargo xtask exercise`: is an exercise of the book solved?

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use common::step::Step;
use vm_init::grade::{Check, Status};

use crate::build::{Built, build, build_chapters};
use crate::grade::row::{Row, Vm};
use crate::grade::{PROGRAM, Which, listed};
use crate::mutants::{SOURCES, sync};
use crate::vm::qemu::{self, Qemu};
use crate::{root, set, target};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The exercises, as ch02-uts-1, or all of a chapter, as ch02-uts
    #[arg(required_unless_present_any = ["list", "check"])]
    names: Vec<String>,

    /// List them
    #[arg(long)]
    list: bool,

    /// See that each fails on the checkout as it is, for the reason that it is set
    /// for, and is solved by its solution in tests/solutions, where there is one
    #[arg(long, conflicts_with = "list")]
    check: bool,

    #[command(flatten)]
    which: Which,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut built = build(Some(PROGRAM))?;
    let all = listed(built.test(PROGRAM)?)?;
    let all: Vec<Check> =
        all.into_iter().filter(|check| check.group.starts_with("ch")).collect();
    if args.list {
        all.iter().for_each(|it| println!("{}: {}", it.group, sentence(it)));
        return Ok(());
    }
    let qemu = qemu::find()?;
    if args.check && args.names.is_empty() {
        unsolved(&rows(&built, &qemu, &all, &args.which)?)?;
        return solutions(&mut built, &qemu, &all, &args.which);
    }
    let chosen = select(&all, &args.names)?;
    let rows = rows(&built, &qemu, &chosen, &args.which)?;
    if args.check {
        return unsolved(&rows);
    }
    for row in &rows {
        tell(row);
    }
    let solved = rows.iter().filter(|row| row.answer.status == Status::Pass).count();
    println!("\nexercises: {solved} of {} solved", rows.len());
    match solved == rows.len() {
        true => Ok(()),
        false => bail!("not solved yet; the page has a hint"),
    }
}

fn sentence(check: &Check) -> String {
    check.name.replace('_', " ")
}

/// Those of a name, or of a chapter.
fn select(all: &[Check], names: &[String]) -> Result<Vec<Check>> {
    let means = |name: &String, check: &Check| {
        let chapter = check.group.rsplit_once('-').map(|(chapter, _)| chapter);
        check.group == *name || chapter == Some(name)
    };
    for name in names {
        if !all.iter().any(|check| means(name, check)) {
            bail!("there is no exercise {name}: --list shows all");
        }
    }
    let chosen =
        all.iter().filter(|check| names.iter().any(|name| means(name, check)));
    Ok(chosen.cloned().collect())
}

fn rows(
    built: &Built,
    qemu: &Qemu,
    checks: &[Check],
    which: &Which,
) -> Result<Vec<Row>> {
    let accelerator = set::accelerator(which.accel, qemu)?;
    let set = set::make(built, qemu, &which.kernel, which.cgroup, accelerator)?;
    let mut vm = Vm::new(&set, which.timeout);
    let rows: Result<Vec<Row>> = checks.iter().map(|check| vm.run(check)).collect();
    let rows = rows?;
    vm.finish()?;
    Ok(rows)
}

fn tell(row: &Row) {
    let (group, sentence) = (&row.check.group, row.sentence());
    match row.answer.status {
        Status::Pass => println!("{group}: {sentence} ... solved"),
        _ => {
            println!("{group}: {sentence} ... not yet");
            row.explanation().iter().for_each(|line| println!("    {line}"));
        }
    }
}

/// Each fails, and finds what it is to find. A check that passes, or fails over
/// something else, tests nothing.
fn unsolved(rows: &[Row]) -> Result<()> {
    let mut wrong = 0;
    for row in rows {
        let Row { check, answer, .. } = row;
        let fails = matches!(answer.status, Status::Fail | Status::Error);
        let reason =
            !check.before.is_empty() && answer.actual.contains(&check.before);
        if fails && reason && !answer.expected.is_empty() && answer.left.is_empty() {
            println!("{}: unsolved, as it should be", check.group);
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
        count => bail!("{count} exercises don't fail as they should"),
    }
}

/// Apply all solutions to a copy of the checkout, and see each exercise solved.
fn solutions(
    built: &mut Built,
    qemu: &Qemu,
    all: &[Check],
    which: &Which,
) -> Result<()> {
    let patches = patches()?;
    for name in patches.keys() {
        if !all.iter().any(|check| check.group == *name) {
            bail!("tests/solutions/{name}.patch solves no exercise");
        }
    }
    for chapter in all.iter().filter_map(|check| check.group.rsplit_once('-')) {
        if !patches
            .keys()
            .any(|name| name.rsplit_once('-').map(|n| n.0) == Some(chapter.0))
        {
            bail!(
                "no patch in tests/solutions/ solves an exercise of {}",
                chapter.0
            );
        }
    }
    let directory = target().join("solutions");
    let checkout = directory.join("checkout");
    for source in SOURCES {
        sync(&root().join(source), &checkout.join(source))?;
    }
    for (name, text) in &patches {
        for patch in
            text.split_inclusive('\n').collect::<String>().split("\n--- a/").skip(1)
        {
            let patch = format!("--- a/{patch}");
            let path = patch.lines().find_map(|line| line.strip_prefix("+++ b/"));
            let path =
                checkout.join(path.with_context(|| format!("{name}: no +++ b/"))?);
            let stale = || {
                format!(
                    "{name} doesn't fit {} any more: make it anew",
                    path.display()
                )
            };
            let patch = diffy::Patch::from_str(&patch).with_context(stale)?;
            let before = fs::read_to_string(&path)
                .step(|| format!("read(2) {}", path.display()))?;
            let after = diffy::apply(&before, &patch).with_context(stale)?;
            fs::write(&path, after)
                .step(|| format!("write(2) {}", path.display()))?;
        }
    }
    let programs = build_chapters(&checkout, &directory.join("target"))
        .context("with the solutions the checkout can't be built")?;
    built.replace_chapters(&programs, true)?;
    let solved: Vec<Check> = all
        .iter()
        .filter(|check| patches.contains_key(&check.group))
        .cloned()
        .collect();
    let rows = rows(built, qemu, &solved, which)?;
    rows.iter().for_each(tell);
    let missing =
        rows.iter().filter(|row| row.answer.status != Status::Pass).count();
    println!("\nsolutions: {} solve, {missing} don't", rows.len() - missing);
    match missing {
        0 => Ok(()),
        count => bail!("{count} solutions don't solve their exercise"),
    }
}

/// The solutions by the exercise's name: a line on what they do, and a unified diff.
fn patches() -> Result<BTreeMap<String, String>> {
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
