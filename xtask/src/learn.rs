//! The learner's commands: `start`, `try`, `watch`, `hint`, `show`, `compare` and
//! `progress`.
//!
//! The learner writes in a workspace of its own, in `mine`, which is a git repository. The
//! checks are those of `cargo xtask grade`. An error in the learner's code does not affect
//! these commands, because they belong to the book's checkout.

mod hole;
pub(crate) mod progress;
mod repository;
pub mod section;
mod stage;
pub(crate) mod start;
mod tasks;
mod update;
mod verify;
pub(crate) mod watch;
mod workspace;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vm_init::grade::Status;

use crate::grade::row::Row;
use crate::grade::{VmArgs, check};
use crate::part::Part;
use tasks::Task;
use workspace::{STARTED, mine};

#[derive(clap::Args)]
pub(crate) struct StartArgs {
    /// The chapter, such as ch02-uts
    #[arg(required_unless_present_any = ["check", "update"])]
    chapter: Option<String>,

    /// Merge the changes of the book's code into your workspace
    #[arg(long, conflicts_with_all = ["chapter", "check"])]
    update: bool,

    /// Check the table of tasks: each task's checks fail while its function is empty, and
    /// pass with the book's code
    #[arg(long)]
    check: bool,

    /// Check only a part of the tasks, such as 2/4: the second of four parts
    #[arg(long, value_name = "K/N", requires = "check")]
    part: Option<Part>,

    #[command(flatten)]
    which: VmArgs,
}

#[derive(clap::Args)]
pub(crate) struct TryArgs {
    /// The chapter [default: the one that was started last]
    chapter: Option<String>,

    #[command(flatten)]
    which: VmArgs,
}

#[derive(clap::Args)]
pub(crate) struct TaskArgs {
    /// The chapter [default: the one that was started last] and the number of the task
    /// [default: the first one that is not solved]
    #[arg(num_args = 0..=2, value_names = ["CHAPTER", "TASK"])]
    words: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    task: TaskArgs,

    /// Write the book's solution into your file
    #[arg(long)]
    take: bool,
}

/// `cargo xtask try`: build the chapter, and run the checks of each written task. The first
/// task that is not solved is explained.
///
/// # Errors
/// No chapter was started; a task is not solved; the code is not compiled.
pub(crate) fn attempt(args: &TryArgs) -> Result<()> {
    let chapter = chosen(args.chapter.as_deref())?;
    let tasks = tasks::of(&chapter)?;
    let mut written = Vec::new();
    for task in &tasks {
        // The compiler explains what is wrong with a file that cannot be parsed.
        if !task.is_hole(&workspace::read(task)?).unwrap_or(false) {
            written.push(task);
        }
    }
    let next =
        tasks.iter().find(|task| !written.iter().any(|it| it.number == task.number));
    if !written.is_empty() {
        let program = workspace::build(&mine(), &chapter, &tasks::all()?)?;
        let wanted: Vec<String> =
            written.iter().flat_map(|task| task.checks.clone()).collect();
        let rows = check(&program, &wanted, &args.which)?;
        let mut rows = rows.iter();
        let mut solved = Vec::new();
        let red = written.iter().find_map(|task| {
            let rows: Vec<&Row> = rows.by_ref().take(task.checks.len()).collect();
            let result = print_task(task, &rows).err();
            solved.extend(result.is_none().then_some(task.number));
            result
        });
        progress::note(&chapter, &solved)?;
        let (solved, count) = (solved.len(), tasks.len());
        let message = format!("{chapter}: {solved} of {count} tasks are solved");
        repository::commit(&mine(), &message)?;
        if let Some(error) = red {
            return Err(error);
        }
    }
    let Some(next) = next else {
        println!("\n{chapter}: solved, {}", progress::counted(tasks.len()));
        println!(
            "run your code: cd mine; cargo run -p {chapter} -- run sh (the first build takes \
             a minute)"
        );
        return Ok(());
    };
    println!();
    explain(next)?;
    bail!(
        "{} of {} tasks are solved: the next one is above",
        written.len(),
        tasks.len()
    );
}

/// Print the result of a task.
///
/// # Errors
/// A check did not pass.
fn print_task(task: &Task, rows: &[&Row]) -> Result<()> {
    let passes = |row: &&&Row| row.answer.status == Status::Pass;
    let Some(bad) = rows.iter().find(|row| !passes(row)) else {
        println!("{}: {} ... solved", task.title(), task.name());
        return Ok(());
    };
    println!("{}: {} ... not yet", task.title(), task.name());
    println!("    check:    {}", bad.sentence());
    bad.explanation().iter().for_each(|line| println!("    {line}"));
    println!("    read:     {}, {}", task.page(), task.read);
    bail!("{} is not solved: `cargo xtask hint {}` helps", task.title(), task.number)
}

/// Print what the function must do, and where it is.
fn explain(task: &Task) -> Result<()> {
    // A file that cannot be parsed has no lines of functions.
    let line = task.line(&workspace::read(task)?).unwrap_or(1);
    println!("{}: write {}", task.title(), task.name());
    println!("    file:     mine/{}:{line}", task.path().display());
    task.what.lines().for_each(|line| println!("    {line}"));
    println!("    read:     {}, {}", task.page(), task.read);
    Ok(())
}

/// The given chapter, or the one that was started last.
fn chosen(chapter: Option<&str>) -> Result<String> {
    let notes = fs::read_to_string(mine().join(STARTED)).unwrap_or_default();
    match chapter.or_else(|| notes.lines().last()) {
        Some(chapter) => Ok(chapter.to_owned()),
        None => bail!("no chapter was started: cargo xtask start ch02-uts"),
    }
}

/// The task with this number, or the first one that is not solved.
fn task(args: &TaskArgs) -> Result<Task> {
    let (mut number, mut chapter) = (None, None);
    for word in &args.words {
        match word.parse::<usize>() {
            Ok(found) => number = Some(found),
            Err(_) => chapter = Some(word.as_str()),
        }
    }
    let chapter = chosen(chapter)?;
    let tasks = tasks::of(&chapter)?;
    if let Some(number) = number {
        let count = tasks.len();
        let found = tasks.into_iter().find(|task| task.number == number);
        return found.with_context(|| {
            format!(
                "there is no task {number}: the tasks of {chapter} are 1 to {count}"
            )
        });
    }
    let solved = progress::solved(&chapter);
    for task in tasks {
        let is_hole = task.is_hole(&workspace::read(&task)?).unwrap_or(false);
        if is_hole || !solved.contains(&task.number) {
            return Ok(task);
        }
    }
    bail!("all tasks of {chapter} are solved: give the number of a task")
}

/// `cargo xtask hint`.
///
/// # Errors
/// There is no such task, or its chapter was not started.
pub(crate) fn hint(args: &TaskArgs) -> Result<()> {
    let task = task(args)?;
    explain(&task)?;
    println!("\nhint:");
    task.hint.lines().for_each(|line| println!("    {line}"));
    println!("\nthe book's solution: cargo xtask show {}", task.number);
    Ok(())
}

/// `cargo xtask show`.
///
/// # Errors
/// There is no such task, or its chapter was not started; git fails.
pub(crate) fn show(args: &ShowArgs) -> Result<()> {
    let task = task(&args.task)?;
    if !args.take {
        println!("{}", task.body(&task.book()?)?);
        println!("\nto continue with it: cargo xtask show {} --take", task.number);
        return Ok(());
    }
    // What the learner wrote stays in the history.
    repository::commit(
        &mine(),
        &format!("{}: before the book's code", task.title()),
    )?;
    let text = task.fill(&workspace::read(&task)?)?;
    put(&mine().join(task.path()), &text)?;
    repository::commit(&mine(), &format!("{}: taken from the book", task.title()))?;
    println!(
        "{} is the book's now: your code is in the history of mine/",
        task.name()
    );
    Ok(())
}

/// `cargo xtask compare`.
///
/// # Errors
/// There is no such task, or its chapter was not started.
pub(crate) fn compare(args: &TaskArgs) -> Result<()> {
    let task = task(args)?;
    let mine = task.body(&workspace::read(&task)?)? + "\n";
    let book = task.body(&task.book()?)? + "\n";
    if mine == book {
        println!("{} is the same as in the book", task.name());
    } else {
        let patch = diffy::create_patch(&mine, &book).to_string();
        let names = [("--- original", "--- mine"), ("+++ modified", "+++ book")];
        let named =
            names.iter().fold(patch, |text, (old, new)| text.replacen(old, new, 1));
        print!("{named}");
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<()> {
    workspace::put(path, text.as_bytes())
}
