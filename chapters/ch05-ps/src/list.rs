//! The list of containers, each with its status.

use anyhow::{Error, Result};
use common::state::fields::is_newer;
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

/// A container of which a file is damaged or cannot be read.
#[derive(Debug)]
pub struct Damaged {
    /// Its ID.
    pub id: Id,
    /// What is wrong.
    pub error: Error,
}

impl Damaged {
    /// The warning that a list shows in the place of the container.
    #[must_use]
    pub fn warning(self) -> Error {
        let Damaged { id, error } = self;
        let remedy = match is_newer(&error) {
            true => String::new(),
            false => format!(" (`rm {id}` or `prune` removes it)"),
        };
        error.context(format!("container {id} cannot be shown{remedy}"))
    }
}

// ANCHOR: listed
/// List the containers, newest first: all of them, or only those whose lock a
/// process holds. Also returns the containers whose files are damaged.
///
/// # Errors
/// The state directory cannot be read.
pub fn listed(state: &State, all: bool) -> Result<(Vec<Listed>, Vec<Damaged>)> {
    let mut others = if all { state.kept_ids()? } else { Vec::new() };
    // This comes after the others are listed. A container whose directory was listed
    // has a lock file until its end, so it is not missed.
    let mut held = state.locked_ids()?;
    held.sort_unstable();
    others.retain(|id| held.binary_search(id).is_err());
    let state = &state.opened();
    let mut found = Vec::with_capacity(held.len() + others.len());
    let mut damaged = Vec::new();
    let held = held.iter().map(|id| (id, true));
    for (id, is_held) in held.chain(others.iter().map(|id| (id, false))) {
        match read_container(state, id, is_held) {
            Ok(one) => found.extend(one.filter(|one| all || one.status.is_held())),
            Err(error) => damaged.push(Damaged { id: id.clone(), error }),
        }
    }
    found.sort_unstable_by(|one: &Listed, other| {
        let [one, other] = [one, other].map(|it| (it.record.created, &it.record.id));
        other.cmp(&one)
    });
    Ok((found, damaged))
}
// ANCHOR_END: listed

/// Read one container. Returns `None` if it has no record: it is being created or
/// removed, or belongs to a chapter before ch04-image.
fn read_container(state: &State, id: &Id, held: bool) -> Result<Option<Listed>> {
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
