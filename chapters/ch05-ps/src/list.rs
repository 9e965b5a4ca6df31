//! The list of containers, each with its status.

use anyhow::{Error, Result};
use common::state::{Id, Notes, Published, State, Status, Summary};

/// A container of the list.
#[derive(Debug)]
pub struct Listed {
    /// Its record.
    pub record: Summary,
    /// Its status.
    pub status: Status,
    /// Its published ports. Empty unless a process holds the container's lock.
    pub ports: Vec<Published>,
}

// ANCHOR: listed
/// List the containers, newest first: all of them, or only those whose lock a
/// process holds. Also returns an error for each container that cannot be read.
///
/// # Errors
/// The state directory cannot be read.
pub fn listed(state: &State, all: bool) -> Result<(Vec<Listed>, Vec<Error>)> {
    let mut others = if all { state.kept_ids()? } else { Vec::new() };
    // This comes after the others are listed. A container whose directory was listed
    // has a lock file until its end, so it is not missed.
    let mut held = state.locked_ids()?;
    held.sort_unstable();
    others.retain(|id| held.binary_search(id).is_err());
    let state = &state.opened();
    let mut found = Vec::with_capacity(held.len() + others.len());
    let mut errors = Vec::new();
    let held = held.iter().map(|id| (id, true));
    for (id, is_held) in held.chain(others.iter().map(|id| (id, false))) {
        match look(state, id, is_held) {
            Ok(one) => found.extend(one.filter(|one| all || one.status.is_held())),
            Err(error) => errors.push(error.context(format!("container {id}"))),
        }
    }
    found.sort_unstable_by(|one: &Listed, other| {
        let [one, other] = [one, other].map(|it| (it.record.created, &it.record.id));
        other.cmp(&one)
    });
    Ok((found, errors))
}
// ANCHOR_END: listed

/// Read one container. Returns `None` if it has no record: it is being created or
/// removed, or belongs to a chapter before ch04-image.
fn look(state: &State, id: &Id, held: bool) -> Result<Option<Listed>> {
    let Some(record) = Summary::read(state, id)? else { return Ok(None) };
    let seen = if held {
        Status::and_notes(&record.home(state))?
    } else {
        Status::of_unlocked(state, id)?.map(|status| (status, Notes::default()))
    };
    Ok(seen.map(|(status, notes)| {
        let ports = if status.is_held() { notes.ports().collect() } else { vec![] };
        Listed { record, status, ports }
    }))
}
