//! `prune`: all containers that no process holds.

use anyhow::{Context as _, Error, Result};
use ch04_image::Store;
use ch05_ps::listed;
use common::cli::Context;
use common::state::{Dead, Record};

// ANCHOR: prune
/// Remove all that have ended or are dead: their names, and what went wrong with others.
///
/// # Errors
/// A state directory that cannot be read.
pub fn prune(context: &Context) -> Result<(Vec<String>, Vec<Error>)> {
    let Context { state, undo } = context;
    let store = Store::open(state)?;
    let mut removed = Vec::new();
    let (all, mut errors) = listed(state, true)?;
    for one in all.into_iter().filter(|one| !one.status.is_held()) {
        let called = one.record.called();
        match one.record.home(state).remove(called, undo) {
            Ok(()) => removed.push(called.to_owned()),
            Err(error) => errors.push(error),
        }
    }
    // Those without a record: their host sides were killed before they wrote one, or
    // when they had removed it, or belong to chapters before images.
    for dead in state.dead()? {
        match nameless(&dead, context) {
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

/// Remove a container that has no record; false if it has one.
fn nameless(dead: &Dead, context: &Context) -> Result<bool> {
    if !matches!(Record::read(&context.state, &dead.home.id), Ok(None)) {
        return Ok(false);
    }
    let swept = dead.sweep(context.undo);
    swept.with_context(|| format!("container {}", dead.home.id)).map(|()| true)
}
