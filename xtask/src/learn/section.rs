//! The part of a chapter's page that lists its tasks: it is generated from the tables of
//! the tasks, so the two cannot differ.

use anyhow::Result;

use super::tasks::{self, Task};

/// The lines around the generated part of a page.
pub(crate) const BEGIN: &str =
    "<!-- tasks: generated from tests/tasks by cargo xtask tidy --fix -->\n";
pub(crate) const END: &str = "<!-- tasks: end -->\n";

/// The chapters that have tasks.
///
/// # Errors
/// The tables of the tasks cannot be read.
pub fn chapters() -> Result<Vec<String>> {
    let mut names: Vec<String> =
        tasks::all()?.into_iter().map(|task| task.chapter).collect();
    names.dedup();
    Ok(names)
}

/// The text between the marks on the page of this chapter.
///
/// # Errors
/// The tables of the tasks cannot be read; a file or function is missing.
pub(crate) fn section(chapter: &str) -> Result<String> {
    let tasks = tasks::of(chapter)?;
    let mut text = match tasks[0].is_stage() {
        true => format!(
            "`cargo xtask start {chapter}` makes your workspace, `mine/`. Type the program \
             there, from an empty `main` on, stage by stage. After each stage, \
             `cargo xtask try` checks it.\n"
        ),
        false => format!(
            "Write these functions yourself. `cargo xtask start {chapter}` copies the code \
             to your workspace, `mine/`, without their bodies. `cargo xtask try` checks \
             what you have written.\n"
        ),
    };
    for (at, task) in tasks.iter().enumerate() {
        text += &format!("\n### Task {}: {}\n\n", task.number, task.name());
        text += &format!("{}\n\n", markdown(&task.what));
        if task.is_stage() {
            text += &stage(task, at.checked_sub(1).map(|at| &tasks[at]))?;
        }
        let checks: Vec<String> = task
            .checks
            .iter()
            .map(|check| check.split("::").last().unwrap_or(check).replace('_', " "))
            .collect();
        text += &format!(
            "- File: `mine/{}`\n- Read: {}\n- Checked: {}\n\n",
            task.path().display(),
            markdown(&task.read),
            checks.join("; ")
        );
        text += &format!(
            "<details><summary>Hint</summary>\n\n{}\n\n</details>\n",
            markdown(&task.hint)
        );
    }
    Ok(text)
}

/// The code of a stage: the whole program, or what is new in it.
fn stage(task: &Task, before: Option<&Task>) -> Result<String> {
    let code = task.book()?;
    let Some(before) = before else {
        return Ok(format!("```rust,ignore\n{code}```\n\n"));
    };
    let patch = diffy::create_patch(&before.book()?, &code).to_string();
    // The names of the two files mean nothing here.
    let lines: Vec<&str> = patch
        .lines()
        .skip(2)
        .map(|line| if line.starts_with("@@ ") { "@@" } else { line })
        .collect();
    Ok(format!("```diff\n{}\n```\n\n", lines.join("\n")))
}

/// The text, without characters that have a meaning in Markdown.
fn markdown(text: &str) -> String {
    let mut shown = String::new();
    let mut is_code = false;
    for character in text.trim().chars() {
        is_code ^= character == '`';
        if !is_code && "<*[]|".contains(character) {
            shown.push('\\');
        }
        shown.push(character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_each_task_and_the_new_lines_of_each_stage() {
        let text = section("ch01-fifty-lines").unwrap();
        assert_eq!(text.matches("\n### Task ").count(), 5);
        assert!(text.contains("```rust,ignore\n//! A container in fifty lines"));
        assert!(text.contains("\n+        CloneFlags::CLONE_NEWPID,\n"), "{text}");
        let text = section("ch02-uts").unwrap();
        assert!(text.contains("### Task 1: Uts::prepare\n"));
        assert!(text.contains("- File: `mine/chapters/ch02-uts/src/lib.rs`\n"));
    }

    #[test]
    fn characters_of_markdown_are_escaped_outside_code() {
        assert_eq!(
            markdown("A | B, `a | b`, Vec<u8>\n"),
            "A \\| B, `a | b`, Vec\\<u8>"
        );
    }
}
