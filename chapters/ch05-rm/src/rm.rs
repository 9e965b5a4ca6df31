//! `rm`: one container, with all that is its.

use anyhow::{Result, bail};
use ch04_commit::Store;
use ch05_stop::{Target, kill};
use common::state::State;

use crate::undo::{Undo, undo};

// ANCHOR: rm
/// Remove one that was found: record, layers, log, group, name. By `force` one that runs
/// is killed first.
///
/// # Errors
/// It runs, or is just being started; it is being committed; a later chapter's.
pub fn rm(state: &State, target: Target, force: bool, known: &[Undo]) -> Result<()> {
    let word = target.word.clone();
    if target.process()?.is_some() {
        if !force {
            bail!("container {word} is running: `stop {word}` ends it, or `rm -f`");
        }
        kill(&target)?;
    }
    let record = target.record.clone();
    // Its host side undoes what it did, and writes how it ended, for those who wait.
    target.outlast(state)?;
    Store::open(state)?.remove_by(&record, |home| undo(home, known))
}
// ANCHOR_END: rm
