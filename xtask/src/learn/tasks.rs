//! The tables of the tasks, tests/tasks/*.toml.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use common::step::Step;
use serde::Deserialize;

use super::{hole, stage};
use crate::checkout::root;
use crate::exercise::nearest;

/// A function that the learner writes, and the checks that turn green.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Task {
    /// The name of the chapter's directory.
    pub(super) chapter: String,
    /// The path of the file in the chapter, or a path that begins with `common`.
    pub(super) file: PathBuf,
    /// `Type::function`, or `function`. Empty for a stage.
    #[serde(default)]
    function: String,
    /// The stage of a program that the learner types from an empty file: the book's file
    /// without the blocks of later stages.
    stage: Option<usize>,
    /// What the function must do.
    pub(super) what: String,
    /// The manual pages, or the types of the engine, to read.
    pub(super) read: String,
    pub(super) hint: String,
    /// The checks of the grader, `group::name`, that pass if the function is correct.
    pub(super) checks: Vec<String>,
    /// The number in the chapter, from 1.
    #[serde(skip)]
    pub(super) number: usize,
}

/// The program from which a learner starts to type.
pub(super) const EMPTY: &str = "fn main() {}\n";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    task: Vec<Task>,
}

/// All tasks, in the order of the book.
///
/// # Errors
/// The table cannot be read.
pub(super) fn all() -> Result<Vec<Task>> {
    let directory = root().join("tests/tasks");
    let mut tasks = Vec::new();
    // One table for each part of the book.
    for path in sorted(&directory)? {
        let shown = path.display();
        let text = fs::read_to_string(&path).step(|| format!("read(2) {shown}"))?;
        let file: File = toml::from_str(&text).with_context(|| shown.to_string())?;
        tasks.extend(file.task);
    }
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for task in &mut tasks {
        let number = numbers.entry(task.chapter.clone()).or_default();
        *number += 1;
        task.number = *number;
    }
    Ok(tasks)
}

fn sorted(directory: &Path) -> Result<BTreeSet<PathBuf>> {
    let step = || format!("readdir(3) {}", directory.display());
    let entries = fs::read_dir(directory).step(step)?;
    entries.map(|entry| Ok(entry.step(step)?.path())).collect()
}

/// The tasks of a chapter.
///
/// # Errors
/// The table cannot be read; the chapter has no tasks.
pub(super) fn of(chapter: &str) -> Result<Vec<Task>> {
    let all = all()?;
    let found: Vec<Task> =
        all.iter().filter(|task| task.chapter == chapter).cloned().collect();
    if found.is_empty() {
        let mut names: Vec<&str> = all.iter().map(|task| &*task.chapter).collect();
        names.dedup();
        let near = nearest(names.iter().copied(), chapter);
        bail!("{chapter} has no tasks: {near}expected one of {}", names.join(", "));
    }
    Ok(found)
}

impl Task {
    /// The path of the file in a checkout.
    pub(super) fn path(&self) -> PathBuf {
        match self.file.starts_with("common") {
            true => self.file.clone(),
            false => Path::new("chapters").join(&self.chapter).join(&self.file),
        }
    }

    /// `ch02-uts, task 2`.
    pub(super) fn title(&self) -> String {
        format!("{}, task {}", self.chapter, self.number)
    }

    /// The page of the book about the chapter.
    pub(super) fn page(&self) -> String {
        format!("book/src/{}.md", self.chapter)
    }

    /// The error of a program in which this function is not written.
    pub(super) fn error(&self) -> String {
        format!("{} is not written yet: see `cargo xtask hint`", self.title())
    }

    /// The comment in the empty body.
    fn comment(&self) -> String {
        let text = format!(
            "Task {}. {} Read: {}, {}. Then: cargo xtask try",
            self.number,
            self.what,
            self.page(),
            self.read
        );
        wrapped(&text, 72)
    }

    /// What is written: a function, or a stage of the program.
    pub(super) fn name(&self) -> String {
        match self.stage {
            Some(stage) => format!("stage {stage} of the program"),
            None => self.function.clone(),
        }
    }

    pub(super) fn is_stage(&self) -> bool {
        self.stage.is_some()
    }

    /// The code of the task: the function's body, or the whole program.
    ///
    /// # Errors
    /// The function is missing, or braces do not match.
    pub(super) fn body(&self, text: &str) -> Result<String> {
        match self.stage {
            Some(_) => Ok(text.trim_end().to_owned()),
            None => hole::body(text, &self.function),
        }
    }

    /// The line on which the code of the task begins.
    ///
    /// # Errors
    /// The function is missing, or braces do not match.
    pub(super) fn line(&self, text: &str) -> Result<usize> {
        match self.stage {
            Some(_) => Ok(1),
            None => hole::line(text, &self.function),
        }
    }

    /// The text with the book's code for this task.
    ///
    /// # Errors
    /// The function is missing, or braces do not match.
    pub(super) fn fill(&self, text: &str) -> Result<String> {
        match self.stage {
            Some(_) => self.book(),
            None => hole::fill(text, &self.book()?, &self.function),
        }
    }

    /// The text with the book's code for this task, if the task's function is empty. Other
    /// lines keep their numbers. A stage stays as it is.
    ///
    /// # Errors
    /// The function is missing in the book's file.
    pub(super) fn fill_if_empty(&self, text: String) -> Result<String> {
        // A file that cannot be parsed stays as it is: the compiler explains why.
        match self.stage.is_none() && self.is_hole(&text).unwrap_or(false) {
            true => hole::fill_in_place(&text, &self.book()?, &self.function),
            false => Ok(text),
        }
    }

    /// The text with an empty body for this function, or the empty program.
    ///
    /// # Errors
    /// The function is missing.
    pub(super) fn make_hole(&self, text: &str) -> Result<String> {
        if self.stage.is_some() {
            return Ok(EMPTY.to_owned());
        }
        hole::make(text, &self.function, &self.comment(), &self.error())
            .with_context(|| self.title())
    }

    /// Whether the function has no body yet, or the program is empty.
    ///
    /// # Errors
    /// The function is missing, or braces do not match.
    pub(super) fn is_hole(&self, text: &str) -> Result<bool> {
        if self.stage.is_some() {
            return Ok(text.trim() == EMPTY.trim());
        }
        hole::is_empty(text, &self.function, &self.error())
            .with_context(|| format!("mine/{}", self.path().display()))
    }

    /// The book's version of the file at this task, without the marks of excerpts.
    ///
    /// # Errors
    /// An errno of read(2).
    pub(super) fn book(&self) -> Result<String> {
        let path = root().join(self.path());
        let text = fs::read_to_string(&path);
        let text = text.step(|| format!("read(2) {}", path.display()))?;
        Ok(match self.stage {
            Some(stage) => stage::text(&text, stage),
            None => without_anchors(&text),
        })
    }
}

/// The text without the marks of the book's excerpts.
pub(super) fn without_anchors(text: &str) -> String {
    let is_mark = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("// ANCHOR: ") || line.starts_with("// ANCHOR_END: ")
    };
    text.split_inclusive('\n').filter(|line| !is_mark(line)).collect()
}

/// The text in lines of at most this many characters, if no word is longer.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_has_a_function_a_page_and_checks_and_is_refilled_byte_for_byte() {
        let all = all().unwrap();
        assert!(all.len() > 5);
        for task in &all {
            let book = task.book().unwrap();
            let holed = task.make_hole(&book).unwrap();
            assert!(task.is_hole(&holed).unwrap(), "{}", task.title());
            assert!(!task.is_hole(&book).unwrap(), "{}", task.title());
            let filled = task.fill(&holed).unwrap();
            assert_eq!(filled, book, "{}", task.title());
            assert!(root().join(task.page()).is_file(), "{}", task.title());
            assert!(!task.checks.is_empty(), "{}", task.title());
        }
    }

    #[test]
    fn a_text_is_wrapped_between_words() {
        assert_eq!(wrapped("one two\n  three four", 9), "one two\nthree\nfour");
        assert_eq!(wrapped("longer-than-this", 4), "longer-than-this");
    }

    #[test]
    fn a_chapter_without_tasks_is_refused_with_those_that_have_some() {
        let error = of("ch99").unwrap_err().to_string();
        assert!(error.contains("ch02-uts"), "{error}");
    }
}
