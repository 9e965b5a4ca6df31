//! The git repository of the learner's workspace.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use common::step::Step;

/// Commit everything in the directory, if something has changed. The repository is created
/// if it is missing.
///
/// # Errors
/// git is missing or fails.
pub(super) fn commit(directory: &Path, message: &str) -> Result<()> {
    if !directory.join(".git").exists() {
        git(directory, &["init", "--quiet"])?;
    }
    git(directory, &["add", "--all"])?;
    let mut changed = command(directory, &["diff", "--cached", "--quiet"]);
    if changed.status().step(|| "execve(2) git")?.success() {
        return Ok(());
    }
    // A new user of git may have no name yet.
    let mut words = Vec::new();
    let known =
        command(directory, &["config", "user.email"]).stdout(Stdio::null()).status();
    if !known.is_ok_and(|status| status.success()) {
        words.extend([
            "-c",
            "user.name=learner",
            "-c",
            "user.email=learner@localhost",
        ]);
    }
    words.extend(["commit", "--quiet", "--message", message]);
    git(directory, &words)
}

fn git(directory: &Path, words: &[&str]) -> Result<()> {
    let status = command(directory, words).status();
    let status =
        status.step(|| "execve(2) git, which keeps the history of mine/")?;
    match status.success() {
        true => Ok(()),
        false => bail!(
            "git {} failed in {}: {status}",
            words.join(" "),
            directory.display()
        ),
    }
}

fn command(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(words).current_dir(directory).stdin(Stdio::null());
    // Variables of a hook of another repository.
    command
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE");
    command
}
