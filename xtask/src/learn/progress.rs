//! `cargo xtask progress`: which tasks are written, and which are solved.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;

use super::tasks::{self, Task};
use super::workspace::{self, mine};

/// A file with the tasks that the last `try` of a chapter found solved: the chapter and
/// the number, one task per line.
const SOLVED: &str = ".solved";

fn lines() -> BTreeSet<String> {
    let text = fs::read_to_string(mine().join(SOLVED)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The numbers of the solved tasks of a chapter.
pub(super) fn solved(chapter: &str) -> BTreeSet<usize> {
    let of_chapter = |line: String| {
        let (name, number) = line.split_once(' ')?;
        (name == chapter).then(|| number.parse().ok())?
    };
    lines().into_iter().filter_map(of_chapter).collect()
}

/// Note which tasks of the chapter are solved.
///
/// # Errors
/// An errno of write(2).
pub(super) fn note(chapter: &str, solved: &[usize]) -> Result<()> {
    let mut all = lines();
    all.retain(|line| line.split(' ').next() != Some(chapter));
    all.extend(solved.iter().map(|number| format!("{chapter} {number}")));
    let text: String = all.iter().map(|line| format!("{line}\n")).collect();
    workspace::put(&mine().join(SOLVED), text.as_bytes())
}

/// `1 task`, `2 tasks`.
pub(super) fn counted(tasks: usize) -> String {
    format!("{tasks} task{}", if tasks == 1 { "" } else { "s" })
}

/// `cargo xtask progress`.
///
/// # Errors
/// The tables of the tasks cannot be read.
pub(crate) fn progress() -> Result<()> {
    let started = workspace::started()?;
    let all = tasks::all()?;
    let mut chapters: Vec<&str> = all.iter().map(|task| &*task.chapter).collect();
    chapters.dedup();
    let mut next = None;
    for chapter in chapters {
        let tasks: Vec<&Task> =
            all.iter().filter(|it| it.chapter == chapter).collect();
        let count = tasks.len();
        if !started.iter().any(|name| name == chapter) {
            println!("{chapter}: not started, {}", counted(count));
            next = next.or(Some(format!("cargo xtask start {chapter}")));
            continue;
        }
        let solved = solved(chapter).len();
        let mut written = 0;
        let mut broken = None;
        for task in &tasks {
            match workspace::read(task).and_then(|text| task.is_hole(&text)) {
                Ok(is_hole) => written += usize::from(!is_hole),
                Err(error) => broken = Some(format!("{error:#}")),
            }
        }
        match broken {
            Some(error) => println!("{chapter}: {error}"),
            None => println!(
                "{chapter}: {solved} of {count} tasks are solved, {written} are written"
            ),
        }
        if solved < count {
            next = next.or(Some(format!("cargo xtask try {chapter}")));
        }
    }
    if let Some(next) = next {
        println!("\nnext: {next}");
    }
    Ok(())
}
