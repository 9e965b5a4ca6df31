//! `prune`: all containers that nobody holds.

use anyhow::{Error, Result};
use ch04_commit::{Record, Store};
use ch05_ps::listed;
use common::state::Dead;
use common::state::State;

use crate::undo::{Undo, undo};

// ANCHOR: prune
/// Remove all that have ended or are dead: what they were called, and what went wrong
/// with others.
///
/// # Errors
/// A state directory that can't be read.
pub fn prune(state: &State, known: &[Undo]) -> Result<(Vec<String>, Vec<Error>)> {
    let store = Store::open(state)?;
    let mut removed = Vec::new();
    let (all, mut errors) = listed(state, true)?;
    for one in all.into_iter().filter(|one| !one.now.lives()) {
        match store.remove_by(&one.record, |home| undo(home, known)) {
            Ok(()) => removed.push(one.record.called().to_owned()),
            Err(error) => errors.push(error),
        }
    }
    // Those without a record: their host sides were killed before they wrote one, or
    // when they had removed it, or are of chapters before images.
    for dead in state.dead()? {
        match nameless(&dead, state, known) {
            Ok(true) => removed.push(dead.home.id.to_string()),
            Ok(false) => {}
            Err(error) => errors.push(error),
        }
    }
    // What a killed commit or import left goes with it.
    errors.extend(store.tidy().err());
    Ok((removed, errors))
}
// ANCHOR_END: prune

/// Remove one that has no record; false if it has one.
fn nameless(dead: &Dead, state: &State, known: &[Undo]) -> Result<bool> {
    if !matches!(Record::read(state, &dead.home.id), Ok(None)) {
        return Ok(false);
    }
    undo(&dead.home, known)?;
    dead.home.remove()?;
    Ok(true)
}
