//! `cargo xtask watch`: `try` again after each change.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use common::step::Step;

use super::workspace::mine;
use super::{TryArgs, attempt};

/// The time between two looks at the files.
const INTERVAL: Duration = Duration::from_millis(300);

/// Run `try`, and again after each change of a file, until the user presses Ctrl-C.
///
/// # Errors
/// An errno of readdir(3).
pub(crate) fn watch(args: &TryArgs) -> Result<Infallible> {
    loop {
        let before = newest(&mine())?;
        if let Err(error) = attempt(args) {
            eprintln!("error: {}", common::step::report(&error));
        }
        eprintln!("\nwaiting for a change in mine/; Ctrl-C ends");
        while newest(&mine())? == before {
            sleep(INTERVAL);
        }
    }
}

/// The number of files, and the time of the newest one. `try` itself writes only in hidden
/// directories.
fn newest(directory: &Path) -> Result<(u64, SystemTime)> {
    let step = || format!("readdir(3) {}", directory.display());
    let mut found = (0, SystemTime::UNIX_EPOCH);
    for entry in fs::read_dir(directory).step(step)? {
        let entry = entry.step(step)?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') || name == "target" {
            continue;
        }
        // An editor may have removed its temporary file in the meantime.
        let Ok(about) = entry.metadata() else { continue };
        let (count, time) = match about.is_dir() {
            true => newest(&entry.path())?,
            false => (1, about.modified().unwrap_or(SystemTime::UNIX_EPOCH)),
        };
        found = (found.0 + count, found.1.max(time));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_a_changed_file_and_a_removed_file_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        let look = || newest(directory.path()).unwrap();
        let empty = look();
        fs::write(at("a/b/c"), "1").unwrap();
        let one = look();
        assert_ne!(one, empty);
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options()
            .write(true)
            .open(at("a/b/c"))
            .unwrap()
            .set_modified(later)
            .unwrap();
        let changed = look();
        assert_ne!(changed, one);
        // The build, and hidden files.
        fs::create_dir_all(at("target/x")).unwrap();
        fs::write(at(".notes"), "").unwrap();
        fs::write(at("target/x/y"), "").unwrap();
        assert_eq!(look(), changed);
        fs::remove_file(at("a/b/c")).unwrap();
        assert_eq!(look(), empty);
    }
}
