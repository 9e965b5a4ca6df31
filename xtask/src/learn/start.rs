//! `cargo xtask start`: the workspace, and a chapter in it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

use super::tasks::{self, Task};
use super::workspace::{self, STARTED, mine};
use super::{StartArgs, explain, put, repository, update, verify};
use crate::checkout::root;
use crate::minimum;

/// `cargo xtask start`: write the workspace, or add a chapter to it. Nothing that the
/// learner wrote is changed.
///
/// # Errors
/// The chapter has no tasks; an errno of a system call; git fails.
pub(crate) fn start(args: &StartArgs) -> Result<()> {
    if args.update {
        return updated();
    }
    let Some(chapter) = &args.chapter else {
        let all = tasks::all()?;
        let chosen = args.part.map_or(all.clone(), |part| part.of(all));
        let result = verify::verify(&chosen, &args.which);
        minimum::check_part("tasks", args.part, chosen.len(), 0)?;
        return result;
    };
    let tasks = tasks::of(chapter)?;
    if args.check {
        return verify::verify(&tasks, &args.which);
    }
    let mine = mine();
    let started = workspace::started()?;
    if started.contains(chapter) {
        println!("{chapter} was started already: your code stays as it is");
        return print_progress(chapter, &tasks);
    }
    let chapters = workspace::closure(chapter)?;
    workspace::write(&mine, &chapters, &tasks)?;
    for task in &tasks {
        // An earlier `start` has copied the chapter with the book's code.
        let (path, text) = (mine.join(task.path()), workspace::read(task)?);
        if task.body(&text)? == task.body(&task.book()?)? {
            put(&path, &task.make_hole(&text)?)?;
        }
    }
    configure(&mine)?;
    update::note(&mine, &chapters, &tasks)?;
    let notes: Vec<String> = started.into_iter().chain([chapter.clone()]).collect();
    put(&mine.join(STARTED), &(notes.join("\n") + "\n"))?;
    repository::commit(&mine, &format!("start {chapter}"))?;

    println!("your workspace is mine/, a git repository of its own");
    let taken: Vec<&str> = chapters
        .iter()
        .map(String::as_str)
        .filter(|name| !notes.iter().any(|started| started == name))
        .collect();
    if !taken.is_empty() {
        println!("the code of {} is the book's", taken.join(", "));
    }
    println!("building {chapter} once, so that your next builds are short");
    if let Err(error) = workspace::build(&mine, chapter, &tasks::all()?) {
        println!("{}", common::step::report(&error));
    }
    println!();
    print_progress(chapter, &tasks)
}

/// In this directory too, `cargo xtask` runs the book's commands.
fn configure(mine: &Path) -> Result<()> {
    let (configuration, ignored) =
        (mine.join(".cargo/config.toml"), mine.join(".gitignore"));
    if !ignored.exists() {
        put(&ignored, "/target\n")?;
    }
    if configuration.exists() {
        return Ok(());
    }
    let manifest = root().join("Cargo.toml").display().to_string();
    // The alias must be a string, like that of the book's checkout, in which cargo finds
    // it too. A string is split at spaces.
    if manifest.contains(char::is_whitespace) {
        return Ok(());
    }
    let alias = format!("run --quiet --manifest-path {manifest} --package xtask --");
    put(&configuration, &format!("[alias]\nxtask = {alias:?}\n"))
}

/// `cargo xtask start --update`.
fn updated() -> Result<()> {
    let (mine, started) = (mine(), workspace::started()?);
    if started.is_empty() {
        bail!("no chapter was started: cargo xtask start ch02-uts");
    }
    let mut chapters = BTreeSet::new();
    for chapter in &started {
        chapters.extend(workspace::closure(chapter)?);
    }
    let mut tasks = tasks::all()?;
    tasks.retain(|task| started.contains(&task.chapter));
    repository::commit(&mine, "before the update")?;
    let update = update::merge(&mine, &chapters, &tasks)?;
    repository::commit(&mine, "the changes of the book")?;
    for path in &update.changed {
        println!("changed: mine/{}", path.display());
    }
    for path in &update.conflicts {
        let path = path.display();
        println!("kept, compare it with mine/{path}.book: mine/{path}");
    }
    let (changed, kept) = (update.changed.len(), update.conflicts.len());
    println!(
        "{changed} files have the book's changes, {kept} stay as you wrote them"
    );
    Ok(())
}

fn print_progress(chapter: &str, tasks: &[Task]) -> Result<()> {
    let mut next = None;
    for task in tasks {
        let is_hole = task.is_hole(&workspace::read(task)?)?;
        println!(
            "    task {}: {}{}",
            task.number,
            task.name(),
            match is_hole {
                true => "",
                false => " (written)",
            }
        );
        next = next.or(is_hole.then_some(task));
    }
    println!();
    match next {
        Some(task) => explain(task)?,
        None => println!("all tasks of {chapter} are written"),
    }
    println!("\ncheck your code: cargo xtask try");
    Ok(())
}
