//! `prune`: all containers that no process holds.

use anyhow::{Context as _, Error, Result};
use ch04_image::Store;
use ch05_ps::{Damaged, listed};
use common::cli::Context;
use common::state::fields::is_newer;
use common::state::{Dead, Home, Name, Record, Status};

// ANCHOR: prune
/// Remove all that have ended or are dead: their names, and what went wrong with others.
///
/// # Errors
/// A state directory that cannot be read.
pub fn prune(context: &Context) -> Result<(Vec<String>, Vec<Error>)> {
    let Context { state, undo } = context;
    let store = Store::open(state)?;
    let mut removed = Vec::new();
    let (all, damaged) = listed(state, true)?;
    let mut errors = Vec::new();
    for one in all.into_iter().filter(|one| !one.status.is_held()) {
        let called = one.record.called();
        match one.record.home(state).remove(called, undo) {
            Ok(()) => removed.push(called.to_owned()),
            Err(error) => errors.push(error),
        }
    }
    for one in damaged {
        match without_status(one, context) {
            Ok(called) => removed.extend(called),
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
    for name in state.stale_names()? {
        if state.remove_stale(&name)? {
            removed.push(name.to_string());
        }
    }
    // What a killed commit or import left goes with it.
    errors.extend(store.tidy().err());
    Ok((removed, errors))
}
// ANCHOR_END: prune

/// Remove a container whose files are damaged: its name or ID; `None` if a process holds
/// it.
fn without_status(damaged: Damaged, context: &Context) -> Result<Option<String>> {
    let Context { state, undo } = context;
    if is_newer(&damaged.error) {
        return Err(damaged.warning());
    }
    let home = Home::salvaged(state, damaged.id)?;
    if Status::by_lock(&home)?.is_held() {
        return Ok(None);
    }
    let called = home.name.as_ref().map_or(home.id.as_str(), Name::as_str);
    home.remove(called, undo)?;
    Ok(Some(called.to_owned()))
}

/// Remove a container that has no record; false if it has one.
fn nameless(dead: &Dead, context: &Context) -> Result<bool> {
    if !matches!(Record::read(&context.state, &dead.home.id), Ok(None)) {
        return Ok(false);
    }
    let swept = dead.sweep(context.undo);
    swept.with_context(|| format!("container {}", dead.home.id)).map(|()| true)
}
