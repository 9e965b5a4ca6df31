//! `cargo xtask start --check`: the checks of the table of tasks.

use anyhow::{Result, bail};
use common::state::remove_tree;
use vm_init::grade::Status;

use super::tasks::{Task, of};
use super::workspace;
use crate::checkout::target;
use crate::grade::row::Row;
use crate::grade::{VmArgs, check};

/// Check each task: its checks fail while the function is empty, and only then.
///
/// # Errors
/// A task is wrong; the code is not compiled; the VM does not boot.
pub(super) fn verify(tasks: &[Task], which: &VmArgs) -> Result<()> {
    let directory = target().join("learn-check");
    let mut wrong = 0;
    for task in tasks {
        let chapters = workspace::closure(&task.chapter)?;
        let of_chapter = of(&task.chapter)?;
        remove_tree(&directory)?;
        workspace::write(&directory, &chapters, std::slice::from_ref(task))?;
        if task.is_stage()
            && let Some(before) = of_chapter.get(task.number.wrapping_sub(2))
        {
            workspace::put(&directory.join(task.path()), before.book()?.as_bytes())?;
        }
        // No function is filled in.
        let holed = workspace::build(&directory, &task.chapter, &[])?;
        let red = check(&holed, &task.checks, which)?;
        if task.is_stage() {
            workspace::put(&directory.join(task.path()), task.book()?.as_bytes())?;
        } else {
            workspace::write_again(&directory, &of_chapter)?;
        }
        let sound = workspace::build(&directory, &task.chapter, &of_chapter)?;
        let green = check(&sound, &task.checks, which)?;
        let passes = |row: &&Row| row.answer.status == Status::Pass;
        let is_red = red.iter().filter(passes).count() < red.len();
        let is_green = green.iter().filter(passes).count() == green.len();
        let said = match (is_red, is_green) {
            (true, true) => "red without it, green with the book's code",
            (false, _) => "WRONG: green without it",
            (_, false) => "WRONG: red with the book's code",
        };
        wrong += usize::from(!(is_red && is_green));
        println!("{}: {} is {said}", task.title(), task.name());
        let bad = green.iter().find(|row| !passes(row));
        bad.iter().for_each(|row| {
            row.explanation().iter().for_each(|line| println!("    {line}"));
        });
    }
    remove_tree(&directory)?;
    println!("\ntasks: {} as expected, {wrong} wrong", tasks.len() - wrong);
    match wrong {
        0 => Ok(()),
        count => bail!("{count} tasks are wrong"),
    }
}
