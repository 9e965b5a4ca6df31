//! `cargo xtask start --update`: the changes of the book's code since the chapters were
//! started, merged with what the learner wrote.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::step::Step;

use super::tasks::Task;
use super::workspace::{files, put, skeleton};

/// The directory in the workspace with each file as the book had it: the common ancestor of
/// the learner's file and a newer one.
const BASE: &str = ".book";

/// What happened to the files.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Update {
    /// The files that have the book's changes now.
    pub(super) changed: Vec<PathBuf>,
    /// The files in which the book and the learner changed the same lines. They stay as they
    /// are, and the book's version is beside them, as FILE.book.
    pub(super) conflicts: Vec<PathBuf>,
}

/// Note that the workspace has the book's code of today. A file that is noted already keeps
/// its note, with an empty function for each of these tasks.
///
/// # Errors
/// An errno of read(2) or write(2); a function is missing.
pub(super) fn note(
    mine: &Path,
    chapters: &BTreeSet<String>,
    holes: &[Task],
) -> Result<()> {
    for path in files(chapters)? {
        let base = mine.join(BASE).join(&path);
        let Some(bytes) = read(&base)? else {
            put(&base, &skeleton(&path, holes)?)?;
            continue;
        };
        let of_file = holes.iter().filter(|task| task.path() == path);
        let Ok(mut text) = String::from_utf8(bytes) else { continue };
        for task in of_file {
            if !task.is_hole(&text)? {
                text = task.make_hole(&text)?;
            }
        }
        put(&base, text.as_bytes())?;
    }
    Ok(())
}

/// Merge the changes of the book since the last note.
///
/// # Errors
/// An errno of read(2) or write(2); a function of a task is missing.
pub(super) fn merge(
    mine: &Path,
    chapters: &BTreeSet<String>,
    holes: &[Task],
) -> Result<Update> {
    let mut update = Update::default();
    for path in files(chapters)? {
        let (place, base) = (mine.join(&path), mine.join(BASE).join(&path));
        let theirs = skeleton(&path, holes)?;
        let (old, ours) = (read(&base)?, read(&place)?);
        if old.as_ref() == Some(&theirs) {
            continue;
        }
        let merged = match (old, ours) {
            // The learner has removed it.
            (Some(_), None) => continue,
            (None, None) => Ok(theirs.clone()),
            (_, Some(ours)) if ours == theirs => Ok(ours),
            (None, Some(_)) => Err(()),
            (Some(old), Some(ours)) => {
                diffy::merge_bytes(&old, &ours, &theirs).map_err(drop)
            }
        };
        if let Ok(merged) = merged {
            put(&place, &merged)?;
            update.changed.push(path);
        } else {
            let mut beside = place.into_os_string();
            beside.push(".book");
            put(Path::new(&beside), &theirs)?;
            update.conflicts.push(path);
        }
        put(&base, &theirs)?;
    }
    Ok(update)
}

/// The content of a file, if it exists.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read.step(|| format!("read(2) {}", path.display())).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tasks;
    use super::super::workspace::{closure, write};
    use super::*;

    #[test]
    fn the_books_changes_are_merged_and_the_learners_code_is_never_lost() {
        let directory = tempfile::tempdir().unwrap();
        let mine = directory.path();
        let holes = tasks::of("ch02-uts").unwrap();
        let chapters = closure("ch02-uts").unwrap();
        write(mine, &chapters, &holes).unwrap();
        note(mine, &chapters, &holes).unwrap();
        let nothing = merge(mine, &chapters, &holes).unwrap();
        assert_eq!(nothing, Update::default());

        // Make the note older than the book, and let the learner change the files.
        let path = |name: &str| Path::new("chapters/ch02-uts/src").join(name);
        let (lib, main) = (path("lib.rs"), path("main.rs"));
        let text = |path: &Path| fs::read_to_string(mine.join(path)).unwrap();
        let older = |path: &Path, from: &str, to: &str| {
            let base = Path::new(BASE).join(path);
            let old = text(&base).replacen(from, to, 1);
            assert_ne!(old, text(&base), "{from}");
            put(&mine.join(&base), old.as_bytes()).unwrap();
            put(&mine.join(path), old.as_bytes()).unwrap();
        };
        older(&lib, "//! The UTS namespace", "//! An UTS namespace");
        older(&main, "fn main()", "fn main_of_old()");
        let written = text(&lib).replacen("// Task 2.", "args.mine();", 1);
        put(&mine.join(&lib), written.as_bytes()).unwrap();
        let both = text(&main).replacen("fn main_of_old()", "fn main_of_mine()", 1);
        put(&mine.join(&main), both.as_bytes()).unwrap();
        fs::remove_file(mine.join("chapters/ch02-uts/Cargo.toml")).unwrap();

        let update = merge(mine, &chapters, &holes).unwrap();
        assert_eq!(update.changed, std::slice::from_ref(&lib));
        assert_eq!(update.conflicts, std::slice::from_ref(&main));
        let merged = text(&lib);
        assert!(merged.contains("args.mine();"), "{merged}");
        assert!(merged.starts_with("//! The UTS namespace"), "{merged}");
        assert!(text(&main).contains("fn main_of_mine()"));
        assert!(text(&path("main.rs.book")).contains("fn main()"));
        assert!(!mine.join("chapters/ch02-uts/Cargo.toml").exists());
        // The changes are merged once.
        assert_eq!(merge(mine, &chapters, &holes).unwrap(), Update::default());
    }
}
