//! The learner's workspace: a copy of the book's code, with empty functions.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use common::state::remove_tree;
use common::step::Step;
use serde_json::Value;

use super::tasks::{self, Task, without_anchors};
use crate::checkout::{root, target};
use crate::command::cargo;

/// The files besides the crates.
const FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", ".rustfmt.toml"];

/// The learner's directory: `$MYDOCKER_MINE`, or `mine` beside the book's code.
pub(super) fn mine() -> PathBuf {
    let chosen = std::env::var_os("MYDOCKER_MINE").filter(|it| !it.is_empty());
    chosen.map_or_else(|| root().join("mine"), PathBuf::from)
}

/// The chapters that a chapter's program is built from, and the chapter itself.
///
/// # Errors
/// A Cargo.toml cannot be read.
pub(super) fn closure(chapter: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::from([chapter.to_owned()]);
    let mut waiting = vec![chapter.to_owned()];
    while let Some(name) = waiting.pop() {
        let path = root().join("chapters").join(&name).join("Cargo.toml");
        let shown = path.display();
        let text = fs::read_to_string(&path).step(|| format!("read(2) {shown}"))?;
        let manifest: toml::Table =
            toml::from_str(&text).with_context(|| shown.to_string())?;
        let dependencies = manifest.get("dependencies").and_then(|it| it.as_table());
        for name in dependencies.into_iter().flat_map(toml::Table::keys) {
            let is_chapter = root().join("chapters").join(name).is_dir();
            if is_chapter && found.insert(name.clone()) {
                waiting.push(name.clone());
            }
        }
    }
    Ok(found)
}

/// Copy the book's code of these chapters, with empty functions for these tasks. A file that
/// is already there stays as it is.
///
/// # Errors
/// An errno of read(2) or write(2); a function is missing.
pub(super) fn write(
    to: &Path,
    chapters: &BTreeSet<String>,
    holes: &[Task],
) -> Result<()> {
    for path in files(chapters)? {
        if !to.join(&path).exists() {
            put(&to.join(&path), &skeleton(&path, holes)?)?;
        }
    }
    Ok(())
}

/// Write a file, and make its missing directories.
///
/// # Errors
/// An errno of mkdir(2) or write(2).
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory)
        .step(|| format!("mkdir(2) {}", directory.display()))?;
    fs::write(path, bytes).step(|| format!("write(2) {}", path.display()))
}

/// The paths of the files that a workspace with these chapters has.
///
/// # Errors
/// An errno of readdir(3).
pub(super) fn files(chapters: &BTreeSet<String>) -> Result<Vec<PathBuf>> {
    let mut waiting = vec![PathBuf::from("common")];
    waiting.extend(chapters.iter().map(|name| Path::new("chapters").join(name)));
    waiting.extend(FILES.map(PathBuf::from));
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        let from = root().join(&path);
        if from.is_dir() {
            for name in names(&from)? {
                // Tests of a chapter belong to the book's checkout.
                let is_tests = path.parent() == Some(Path::new("chapters"))
                    && ["tests", "examples"].iter().any(|it| name == *it);
                if !is_tests {
                    waiting.push(path.join(name));
                }
            }
        } else if from.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// The book's version of a file, with empty functions for these tasks.
///
/// # Errors
/// An errno of read(2); a function is missing.
pub(super) fn skeleton(path: &Path, holes: &[Task]) -> Result<Vec<u8>> {
    let from = root().join(path);
    let mut bytes =
        fs::read(&from).step(|| format!("read(2) {}", from.display()))?;
    if path == Path::new("Cargo.toml") {
        bytes = manifest(&String::from_utf8(bytes)?)?.into_bytes();
    } else if path.ends_with("Cargo.toml") {
        // The directories of tests and examples are not copied.
        let is_test = |head: &str| head == "[[test]]" || head == "[[example]]";
        bytes = without(&String::from_utf8(bytes)?, is_test).into_bytes();
    }
    if path.extension().is_some_and(|it| it == "rs") {
        bytes = without_anchors(&String::from_utf8(bytes)?).into_bytes();
    }
    for task in holes.iter().filter(|task| task.path() == path) {
        bytes = task.make_hole(&String::from_utf8(bytes)?)?.into_bytes();
    }
    Ok(bytes)
}

fn names(directory: &Path) -> Result<BTreeSet<OsString>> {
    let step = || format!("readdir(3) {}", directory.display());
    let entries = fs::read_dir(directory).step(step)?;
    entries.map(|entry| Ok(entry.step(step)?.file_name())).collect()
}

/// The workspace's Cargo.toml: it has no tests and no xtask, and the compiler does not warn
/// of what an empty function does not use. cargo would warn of settings of packages that
/// are not in this workspace.
fn manifest(book: &str) -> Result<String> {
    let is_about_packages =
        |head: &str| head.starts_with("[profile.") && head.contains(".package");
    let mut lines = Vec::new();
    let text = without(book, is_about_packages);
    for line in text.lines().filter(|line| !line.starts_with("default-members = ")) {
        lines.push(if line.starts_with("members = ") { MEMBERS } else { line });
        if line == "[workspace.lints.rust]" {
            lines.push("unused = { level = \"allow\", priority = -1 }");
        }
    }
    ensure!(
        lines.contains(&MEMBERS)
            && lines.iter().any(|it| it.starts_with("unused = ")),
        "Cargo.toml has no members or no section [workspace.lints.rust]"
    );
    Ok(lines.join("\n") + "\n")
}

/// The TOML text without the sections that have such a head.
fn without(text: &str, is_left_out: impl Fn(&str) -> bool) -> String {
    let mut leave_out = false;
    let lines = text.split_inclusive('\n').filter(|line| {
        if line.starts_with('[') {
            leave_out = is_left_out(line.trim_end());
        }
        !leave_out
    });
    lines.collect()
}

/// The members of the learner's workspace.
const MEMBERS: &str =
    r#"members = ["common", "common/oci", "common/provision", "chapters/*"]"#;

/// Build a chapter of the learner's workspace. A function that is still empty has the
/// book's body, so that each task can be checked alone. Returns the program.
///
/// # Errors
/// cargo fails, and has printed why; a task's function was removed.
pub(super) fn build(from: &Path, chapter: &str, holes: &[Task]) -> Result<PathBuf> {
    let directory = target().join("learn");
    let checkout = directory.join("checkout");
    mirror(from, &checkout, Path::new(""), holes)?;
    let mut build = cargo();
    // Not the build directory of another workspace: cargo would take its packages for
    // these, because both have the same paths in their workspaces.
    build.current_dir(&checkout).env("CARGO_TARGET_DIR", directory.join("target"));
    build.args(["build", "--package", chapter, "--bin", chapter]);
    let format = match std::io::stderr().is_terminal() {
        true => "json,json-diagnostic-rendered-ansi",
        false => "json",
    };
    build.args(["--message-format", format]);
    let output = build.stderr(std::process::Stdio::inherit()).output();
    let output = output.step(|| "execve(2) cargo")?;
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let messages: Vec<Value> =
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    for message in &messages {
        if let Some(text) = message["message"]["rendered"].as_str() {
            eprint!("{}", in_workspace(text));
        }
    }
    ensure!(output.status.success(), "your code is not compiled yet: see above");
    let program = messages
        .iter()
        .filter(|message| message["target"]["name"] == chapter)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    program.with_context(|| format!("cargo built no {chapter}"))
}

/// A message of the compiler about the copy, with the paths of the learner's files.
fn in_workspace(message: &str) -> String {
    let lines = message.split_inclusive('\n').map(|line| {
        match line.find("--> ").or_else(|| line.find("::: ")) {
            Some(at) => {
                let (mark, path) = line.split_at(at + 4);
                let is_learners =
                    ["chapters/", "common/"].iter().any(|it| path.starts_with(it));
                format!("{mark}{}{path}", if is_learners { "mine/" } else { "" })
            }
            None => line.to_owned(),
        }
    });
    lines.collect()
}

/// Make `to` equal to `from`, with the book's bodies in the empty functions. A file that is
/// already equal is not written, because cargo detects changes by the modification time.
fn mirror(from: &Path, to: &Path, path: &Path, holes: &[Task]) -> Result<()> {
    let (source, copy) = (from.join(path), to.join(path));
    if source.is_dir() {
        fs::create_dir_all(&copy).step(|| format!("mkdir(2) {}", copy.display()))?;
        let mut there = names(&source)?;
        there.retain(|name| !name.to_string_lossy().starts_with('.'));
        for name in names(&copy)?.difference(&there) {
            remove_tree(&copy.join(name))?;
        }
        return there
            .iter()
            .try_for_each(|name| mirror(from, to, &path.join(name), holes));
    }
    let mut bytes =
        fs::read(&source).step(|| format!("read(2) {}", source.display()))?;
    for task in holes.iter().filter(|task| task.path() == path) {
        let text = String::from_utf8(bytes)
            .with_context(|| format!("{} is not UTF-8", source.display()))?;
        bytes = task.fill_if_empty(text)?.into_bytes();
    }
    if fs::read(&copy).ok().as_ref() != Some(&bytes) {
        fs::write(&copy, bytes).step(|| format!("write(2) {}", copy.display()))?;
    }
    Ok(())
}

/// The learner's version of the task's file.
///
/// # Errors
/// The chapter was not started, or the file was removed.
pub(super) fn read(task: &Task) -> Result<String> {
    let path = mine().join(task.path());
    if !mine().join("chapters").join(&task.chapter).is_dir() {
        bail!("{0} was not started: cargo xtask start {0}", task.chapter);
    }
    fs::read_to_string(&path).step(|| format!("read(2) {}", path.display()))
}

/// Make these functions empty in a workspace with the book's code.
///
/// # Errors
/// An errno of read(2) or write(2); a function is missing.
pub(super) fn write_again(to: &Path, holes: &[Task]) -> Result<()> {
    for task in holes {
        let path = to.join(task.path());
        let shown = path.display();
        let text = fs::read_to_string(&path).step(|| format!("read(2) {shown}"))?;
        if !task.is_hole(&text)? {
            let text = task.make_hole(&text)?;
            fs::write(&path, text).step(|| format!("write(2) {shown}"))?;
        }
    }
    Ok(())
}

/// The chapters that have tasks and are in the learner's workspace.
///
/// # Errors
/// The table of the tasks cannot be read.
pub(super) fn started() -> Result<Vec<String>> {
    let notes = fs::read_to_string(mine().join(STARTED)).unwrap_or_default();
    let notes: BTreeSet<&str> = notes.lines().collect();
    let mut found: Vec<String> =
        tasks::all()?.into_iter().map(|task| task.chapter).collect();
    found.dedup();
    found.retain(|chapter| notes.contains(chapter.as_str()));
    Ok(found)
}

/// A file with the names of the chapters that were started, one per line.
pub(super) const STARTED: &str = ".started";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_compiler_name_the_learners_files() {
        let text = "error: x\n  --> chapters/a/src/lib.rs:1:2\n   ::: common/b.rs:3\n \
                    --> /rustc/c.rs:4\n";
        let expected = "error: x\n  --> mine/chapters/a/src/lib.rs:1:2\n   ::: \
                        mine/common/b.rs:3\n --> /rustc/c.rs:4\n";
        assert_eq!(in_workspace(text), expected);
    }

    #[test]
    fn a_chapter_is_built_from_the_chapters_below_it() {
        let chapters = closure("ch04-volume").unwrap();
        for name in ["ch02-uts", "ch02-user", "ch04-overlay", "ch04-volume"] {
            assert!(chapters.contains(name), "{name}: {chapters:?}");
        }
        assert!(!chapters.contains("ch05-exec"));
    }

    #[test]
    fn a_workspace_has_empty_functions_and_keeps_what_the_learner_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path();
        let tasks = tasks::of("ch02-uts").unwrap();
        let chapters = closure("ch02-uts").unwrap();
        write(to, &chapters, &tasks).unwrap();
        let path = to.join(tasks[0].path());
        let text = fs::read_to_string(&path).unwrap();
        assert!(tasks.iter().all(|task| task.is_hole(&text).unwrap()));
        let manifest = fs::read_to_string(to.join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("\"xtask\"") && manifest.contains("chapters/*"));
        assert!(
            manifest.contains("[profile.dev]")
                && !manifest.contains("[profile.dev.package")
        );
        let text = "[a]\nb = 1\n\n[[test]]\nname = \"c\"\n[d]\n";
        assert_eq!(without(text, |head| head == "[[test]]"), "[a]\nb = 1\n\n[d]\n");
        // The second call changes nothing.
        fs::write(&path, "mine").unwrap();
        write(to, &chapters, &tasks).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn the_built_copy_has_the_books_bodies_only_in_empty_functions() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        let tasks = tasks::of("ch02-uts").unwrap();
        let path = tasks[0].path();
        fs::create_dir_all(from.join(&path).parent().unwrap()).unwrap();
        let book = tasks[0].book().unwrap();
        let mut text = book.replace("CLONE_NEWUTS", "CLONE_NEWNET");
        text = tasks[2].make_hole(&text).unwrap();
        fs::write(from.join(&path), text).unwrap();
        fs::create_dir(from.join(".git")).unwrap();
        mirror(&from, &to, Path::new(""), &tasks).unwrap();
        let built = fs::read_to_string(to.join(&path)).unwrap();
        assert!(built.contains("CLONE_NEWNET") && built.contains("sethostname (&"));
        assert!(!to.join(".git").exists());
        // A file that was removed disappears, and one that is not Rust is copied.
        fs::write(from.join(&path), "fn (").unwrap();
        fs::write(to.join("old"), "").unwrap();
        mirror(&from, &to, Path::new(""), &tasks).unwrap();
        assert_eq!(fs::read_to_string(to.join(&path)).unwrap(), "fn (");
        assert!(!to.join("old").exists());
    }
}
