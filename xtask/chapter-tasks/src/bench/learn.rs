//! `cargo xtask bench learn`: how long a learner waits for a verdict on an exercise or a
//! task.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use common::state::remove_tree;
use common::step::Step;

use super::measure::median;
use super::record::{Figure, Record};
use xtask::checkout::{root, target};
use xtask::exercise::{apply, patches};
use xtask::learn::section::chapters;
use xtask::mutants::{SOURCES, sync};

/// The targets: seconds until the first verdict of an exercise and until the verdict
/// after a change, and the size of the build directory in bytes.
const FIRST: f64 = 90.0;
const LATER: f64 = 5.0;
const DISK: u64 = 1_200_000_000;

/// What a checkout has, besides the sources.
const PAGES: [&str; 2] = ["book", "README.md"];

/// Copy the checkout, build it as a learner does, and check this many exercises:
/// before and after the solution is written. Then check the first task of this many
/// chapters.
///
/// # Errors
/// cargo fails; a verdict is wrong. A missed target is not an error.
pub(super) fn learn(exercises: usize, tasks: usize) -> Result<Record> {
    let directory = target().join("bench-learn");
    remove_tree(&directory)?;
    let checkout = directory.join("checkout");
    fs::create_dir_all(&checkout)
        .step(|| format!("mkdir(2) {}", checkout.display()))?;
    for source in SOURCES.iter().chain(&PAGES) {
        sync(&root().join(source), &checkout.join(source))?;
    }
    let patches = patches()?;
    ensure!(exercises <= patches.len(), "there are {} solutions", patches.len());
    let begun = Instant::now();
    let built = cargo(&checkout, &["build", "--locked"])?.success();
    ensure!(built, "cargo build failed");
    let build = begun.elapsed().as_secs_f64();
    println!("cargo build: {build:.1} s");

    println!("verdicts, s     first  after a change");
    let (mut first, mut later) = (Vec::new(), Vec::new());
    // Exercises of all chapters, in the order of the book.
    for number in 0..exercises {
        let at = number * patches.len() / exercises;
        let (name, text) = patches.iter().nth(at).context("a solution")?;
        first.push(verdict(&checkout, name, false)?);
        apply(name, text, &checkout)?;
        later.push(verdict(&checkout, name, true)?);
        println!("{name:<16}{:>5.1}{:>7.1}", first[number], later[number]);
    }
    let bytes = disk_use(&checkout.join("target"), &mut BTreeSet::new())?;
    let (starts, tried) = task_times(&checkout, tasks)?;
    let most = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    let judged = |met| if met { "met" } else { "not" };
    for (times, name, aim) in [
        (&first, "first", FIRST),
        (&later, "after a change", LATER),
        (&tried, "a task", LATER),
    ] {
        let (middle, most) = (median(times), most(times));
        println!(
            "{name}: median {middle:.1} s, maximum {most:.1} s  <= {aim} s, {}",
            judged(most <= aim)
        );
    }
    println!(
        "build directory: {:.2} GB  <= {:.1} GB, {}",
        bytes as f64 / 1e9,
        DISK as f64 / 1e9,
        judged(bytes <= DISK)
    );
    remove_tree(&directory)?;
    let figures = vec![
        Figure::of("learner", "cargo build", &[build]),
        Figure::of("verdict", "first", &first).aimed(Some(FIRST)),
        Figure::of("verdict", "after a change", &later).aimed(Some(LATER)),
        Figure::of("learner", "cargo xtask start", &starts),
        Figure::of("verdict", "a task", &tried).aimed(Some(LATER)),
    ];
    let title = format!("the verdicts of {exercises} exercises");
    Ok(Record::new("learn", title, "s", &target(), figures))
}

/// The seconds that `start` takes, and those from an edit to the verdict of the first task,
/// for this many chapters.
fn task_times(checkout: &Path, tasks: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let chapters = chapters()?;
    let count = tasks.min(chapters.len());
    println!(
        "all tasks need the VM: their checks are root's, and change the machine"
    );
    println!("tasks, s          start  verdict");
    let (mut starts, mut tried) = (Vec::new(), Vec::new());
    for number in 0..count {
        let chapter = &chapters[number * chapters.len() / count];
        let (started, seconds) = timed(checkout, &["xtask", "start", chapter])?;
        ensure!(started, "cargo xtask start {chapter} failed");
        starts.push(seconds);
        let (taken, _) = timed(checkout, &["xtask", "show", "1", "--take"])?;
        ensure!(taken, "cargo xtask show failed");
        // The status is that of the whole chapter, whose other tasks are not written.
        tried.push(timed(checkout, &["xtask", "try"])?.1);
        println!("{chapter:<16}{:>7.1}{:>9.1}", starts[number], tried[number]);
        let solved = fs::read_to_string(checkout.join("mine/.solved"));
        let solved =
            solved.is_ok_and(|text| text.contains(&format!("{chapter} 1\n")));
        ensure!(solved, "{chapter}: task 1 must be solved by the book's code");
    }
    Ok((starts, tried))
}

/// Run cargo: whether it succeeded, and the seconds.
fn timed(checkout: &Path, words: &[&str]) -> Result<(bool, f64)> {
    let begun = Instant::now();
    let status = cargo(checkout, words)?;
    Ok((status.success(), begun.elapsed().as_secs_f64()))
}

/// The bytes that the files of a directory occupy on the disk. A file with several names
/// counts once, and a hole does not count.
fn disk_use(directory: &Path, known: &mut BTreeSet<u64>) -> Result<u64> {
    let step = || format!("readdir(3) {}", directory.display());
    let mut bytes = 0;
    for entry in fs::read_dir(directory).step(step)? {
        let entry = entry.step(step)?;
        let about = entry.metadata().step(|| entry.path().display().to_string())?;
        if about.is_dir() {
            bytes += disk_use(&entry.path(), known)?;
        } else if known.insert(about.ino()) {
            bytes += about.blocks() * 512;
        }
    }
    Ok(bytes)
}

/// The seconds until a verdict, which must be this one.
fn verdict(checkout: &Path, name: &str, solved: bool) -> Result<f64> {
    let (success, seconds) = timed(checkout, &["xtask", "exercise", name])?;
    ensure!(success == solved, "{name}: the verdict is wrong");
    Ok(seconds)
}

/// Run cargo in the copy, with its own build directory and without output.
fn cargo(checkout: &Path, words: &[&str]) -> Result<std::process::ExitStatus> {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(checkout).env_remove("CARGO_TARGET_DIR");
    // These variables are of the cargo that runs this program.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_")) {
            command.env_remove(name);
        }
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().step(|| "execve(2) cargo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_holes_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let size = || disk_use(dir.path(), &mut BTreeSet::new()).unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/one"), vec![1; 1 << 20]).unwrap();
        let one = size();
        assert!((1 << 20..2 << 20).contains(&one), "{one}");
        fs::hard_link(dir.path().join("in/one"), dir.path().join("two")).unwrap();
        fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(size(), one);
    }
}
