//! The list of containers, each with its status.

use std::thread;

use anyhow::{Error, Result};
use common::state::{Id, Notes, Published, State, Status, Summary};

/// A container of the list.
#[derive(Debug)]
pub struct Listed {
    /// As it was made.
    pub record: Summary,
    /// How it is.
    pub status: Status,
    /// Its published ports; none unless a process holds it.
    pub ports: Vec<Published>,
}

// ANCHOR: listed
/// The containers, the newest first: those that a process holds, or all; and what went
/// wrong with others.
///
/// # Errors
/// Those of readdir(3).
pub fn listed(state: &State, all: bool) -> Result<(Vec<Listed>, Vec<Error>)> {
    let mut ids = if all { state.kept_ids()? } else { Vec::new() };
    // After the others: a container that has a directory by then has a lock file, until
    // its end.
    let mut held = state.locked_ids()?;
    held.sort_unstable();
    ids.extend(held.iter().cloned());
    ids.sort_unstable();
    ids.dedup();
    let state = &state.opened();
    let mut found = Vec::with_capacity(ids.len());
    let mut errors = Vec::new();
    for (id, one) in ids.iter().zip(look_at_all(state, &ids, &held)) {
        match one {
            Ok(one) => found.extend(one.filter(|one| all || one.status.is_held())),
            Err(error) => errors.push(error.context(format!("container {id}"))),
        }
    }
    found.sort_by(|one: &Listed, other| {
        let [one, other] = [one, other].map(|it| (it.record.created, &it.record.id));
        other.cmp(&one)
    });
    Ok((found, errors))
}
// ANCHOR_END: listed

type Look = Result<Option<Listed>>;

/// With fewer containers, a second thread costs more than it saves.
const MANY: usize = 64;

/// A look at a container is ten short system calls: with many containers, two threads
/// share them.
fn look_at_all(state: &State, ids: &[Id], held: &[Id]) -> Vec<Look> {
    let look = |ids: &[Id]| -> Vec<Look> {
        let is_held = |id| held.binary_search(id).is_ok();
        ids.iter().map(|id| look(state, id, is_held(id))).collect()
    };
    if ids.len() < MANY {
        return look(ids);
    }
    let (first, second) = ids.split_at(ids.len() / 2);
    thread::scope(|scope| {
        let other = scope.spawn(|| look(second));
        let mut all = look(first);
        all.extend(other.join().unwrap_or_default());
        all
    })
}

/// One; `None` when it has no record: it is being created or removed, or belongs to a
/// chapter before images.
fn look(state: &State, id: &Id, held: bool) -> Look {
    let Some(record) = Summary::read(state, id)? else { return Ok(None) };
    let home = record.home(state);
    let seen = if held {
        Status::and_notes(&home)?
    } else {
        Status::of_unlocked(&home)?.map(|status| (status, Notes::default()))
    };
    Ok(seen.map(|(status, notes)| {
        let ports = if status.is_held() { notes.ports().collect() } else { vec![] };
        Listed { record, status, ports }
    }))
}
