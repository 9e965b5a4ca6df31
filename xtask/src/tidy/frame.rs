//! The frame of a chapter's page: each page has the same parts, in the same order.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use common::step::Step;

use super::{Checkout, File, Finding};
use crate::checkout::root;
use crate::learn::section::{BEGIN, END, chapters, section};

/// The pages of chapters that do not have the frame yet.
const WITHOUT_FRAME: &[&str] = &["mydocker"];

/// The headings of a page, in this order. A page may have more.
const HEADINGS: [&str; 8] = [
    "## By hand",
    "## What must hold",
    "## Tasks",
    "## The code",
    "## Run it",
    "## What is still wrong",
    "## Test your understanding",
    "## Exercises",
];

/// What stands before the first heading.
const FIRST: [&str; 5] = [
    "](images/",
    "| **Outcome** |",
    "| **You need** |",
    "| **Time** |",
    "**Predict",
];

/// Each chapter's page has each part of the frame. Each question and exercise has an answer.
pub(super) fn parts(checkout: &Checkout) -> Vec<Finding> {
    let mut found = Vec::new();
    for page in checkout.below("book/src", "md") {
        let name = page.path.file_stem().unwrap_or_default().to_string_lossy();
        let has_code = checkout.exists(&PathBuf::from("chapters").join(&*name));
        if !has_code || WITHOUT_FRAME.contains(&&*name) {
            continue;
        }
        found.extend(missing(page));
        found.extend(unanswered(page));
    }
    found
}

fn missing(page: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut finding = |what| {
        let remedy = "add it, as on the other chapters' pages";
        found.push(page.finding(1, what, remedy));
    };
    let head = page.text.split("\n## ").next().unwrap_or_default();
    for part in FIRST.iter().filter(|part| !head.contains(**part)) {
        finding(format!("{part:?} is missing before the first heading"));
    }
    let mut rest = page.text.as_str();
    for heading in HEADINGS {
        match rest.split_once(&format!("\n{heading}\n")) {
            Some((_, after)) => rest = after,
            None => {
                finding(format!("\"{heading}\" is missing, or not in its place"))
            }
        }
    }
    found
}

/// The questions without an answer, and the exercises without a hint or an answer.
fn unanswered(page: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut part = "";
    // The place of the open question or exercise, and what it still needs.
    let mut open: Option<(usize, Vec<&str>)> = None;
    for (line, text) in page.lines().chain([(usize::MAX, "## ")]) {
        let questions = part == "## Test your understanding"
            && text
                .split_once(". ")
                .is_some_and(|(at, _)| at.parse::<u32>().is_ok());
        let exercise = part == "## Exercises" && text.starts_with("### ");
        if questions || exercise || text.starts_with("## ") {
            if let Some((line, needs)) = open.take().filter(|(_, it)| !it.is_empty())
            {
                let what = format!("this has no {}", needs.join(" and no "));
                let remedy = "add <details><summary>Answer</summary>…";
                found.push(page.finding(line, what, remedy));
            }
            let needs =
                if exercise { vec!["Hint", "Answer"] } else { vec!["Answer"] };
            open = (questions || exercise).then_some((line, needs));
        }
        if text.starts_with("## ") {
            part = text;
        }
        if let Some((_, needs)) = &mut open {
            needs.retain(|it| !text.contains(&format!("<summary>{it}</summary>")));
        }
    }
    found
}

/// The tasks on each page are those of the tables.
///
/// # Errors
/// The tables of the tasks cannot be read.
pub(super) fn tasks(checkout: &Checkout) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let chapters: BTreeSet<String> = chapters()?.into_iter().collect();
    for chapter in &chapters {
        let path = PathBuf::from("book/src").join(format!("{chapter}.md"));
        let page = checkout.file(&path);
        let Some(page) = page.filter(|_| !WITHOUT_FRAME.contains(&&**chapter))
        else {
            continue;
        };
        match replaced(&page.text, &section(chapter)?) {
            Some(text) if text == page.text => {}
            Some(_) => {
                let what = "the tasks differ from tests/tasks".to_owned();
                found.push(page.finding(1, what, "run `cargo xtask tidy --fix`"));
            }
            None => {
                let what = "the page has no place for its tasks".to_owned();
                found.push(page.finding(1, what, &format!("add {BEGIN}{END}")));
            }
        }
    }
    Ok(found)
}

/// Write the tasks into the pages.
///
/// # Errors
/// The tables of the tasks cannot be read; an errno of read(2) or write(2).
pub(super) fn fix() -> Result<()> {
    for chapter in chapters()? {
        let path = root().join("book/src").join(format!("{chapter}.md"));
        let shown = path.display();
        let text = fs::read_to_string(&path).step(|| format!("read(2) {shown}"))?;
        if let Some(new) =
            replaced(&text, &section(&chapter)?).filter(|it| *it != text)
        {
            fs::write(&path, new).step(|| format!("write(2) {shown}"))?;
            println!("fixed: {shown}");
        }
    }
    Ok(())
}

/// The page with this text between the marks; `None` if it has no marks.
fn replaced(page: &str, section: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{section}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::{made_up, said};
    use super::*;

    /// A page with the whole frame.
    fn page() -> String {
        let head = "# 2.1 UTS\n\n![p](images/p.svg)\n\n| | |\n|---|---|\n\
            | **Outcome** | o |\n| **You need** | n |\n| **Time** | 5 |\n\n**Predict.** What?\n";
        let mut text = head.to_owned();
        for heading in HEADINGS {
            text += &format!("\n{heading}\n\ntext\n");
        }
        text.replace(
            "## Test your understanding\n\ntext\n",
            "## Test your understanding\n\n1. Why?\n\n   <details><summary>Answer</summary>a</details>\n",
        ) + "\n### Exercise 1\n\n<details><summary>Hint</summary>h</details>\n\
            <details><summary>Answer</summary>a</details>\n"
    }

    fn findings(page: &str) -> String {
        let files =
            [("book/src/ch99-x.md", page), ("chapters/ch99-x/Cargo.toml", "")];
        said(&parts(&made_up(&files)))
    }

    #[test]
    fn a_page_with_the_frame_has_no_finding_and_each_missing_part_is_found() {
        assert_eq!(findings(&page()), "");
        for part in FIRST.iter().chain(&HEADINGS) {
            let text = findings(&page().replace(part, "x"));
            assert!(text.contains(part), "{part}: {text}");
        }
        // The order of two parts.
        let text =
            page().replace("## By hand", "## y").replace("## Tasks", "## By hand");
        assert!(findings(&text).contains("\"## What must hold\" is missing"));
    }

    #[test]
    fn a_question_and_an_exercise_without_an_answer_are_found() {
        let page = page();
        let (questions, exercises) = page.split_once("## Exercises").unwrap();
        let answer = "<details><summary>Answer</summary>a</details>";
        let text =
            format!("{}## Exercises{exercises}", questions.replace(answer, ""));
        assert!(
            findings(&text).contains("this has no Answer"),
            "{}",
            findings(&text)
        );
        let text =
            format!("{questions}## Exercises{}", exercises.replace(answer, ""));
        assert!(
            findings(&text).contains("this has no Answer"),
            "{}",
            findings(&text)
        );
        let text = page.replace("<summary>Hint", "<summary>H");
        assert!(findings(&text).contains("this has no Hint"), "{}", findings(&text));
    }

    #[test]
    fn the_tasks_are_replaced_between_the_marks() {
        let page = format!("a\n{BEGIN}old\n{END}b\n");
        let new = replaced(&page, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}new\n{END}b\n"));
        assert_eq!(replaced("a\n", "new\n"), None);
    }
}
