//! `prune`: remove all containers that no process has locked.

use anyhow::{Context as _, Error, Result};
use ch04_image::Store;
use ch05_ps::{Damaged, listed};
use common::cli::Context;
use common::state::fields::may_be_whole;
use common::state::{Dead, Home, Name, Record, Status};

// ANCHOR: prune
/// Remove all containers that have ended or are dead. Returns their names, and an
/// error for each container that could not be removed.
///
/// # Errors
/// The state directory cannot be read.
pub fn prune(context: &Context) -> Result<(Vec<String>, Vec<Error>)> {
    let Context { state, undo } = context;
    let store = Store::open(state)?;
    let mut removed = Vec::new();
    let (all, damaged) = listed(state, true)?;
    let mut errors = Vec::new();
    for one in all.into_iter().filter(|one| !one.status.is_held()) {
        let called = one.record.display_name();
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
    // Then remove containers without a record. Either the supervisor was killed
    // before it wrote the record or after it removed the record, or a chapter before
    // ch04-image created the container.
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
    // Also remove the files of a commit or import that was killed.
    errors.extend(store.lock_and_sweep().err());
    Ok((removed, errors))
}
// ANCHOR_END: prune

/// Remove a container whose files are damaged. Returns its name or ID, or `None` if a
/// process holds its lock.
fn without_status(damaged: Damaged, context: &Context) -> Result<Option<String>> {
    let Context { state, undo } = context;
    if may_be_whole(&damaged.error) {
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

/// Remove a container that has no record. Returns false if the container has a
/// record.
fn nameless(dead: &Dead, context: &Context) -> Result<bool> {
    if !matches!(Record::read(&context.state, &dead.home.id), Ok(None)) {
        return Ok(false);
    }
    let swept = dead.sweep(context.undo);
    swept.with_context(|| format!("container {}", dead.home.id)).map(|()| true)
}
