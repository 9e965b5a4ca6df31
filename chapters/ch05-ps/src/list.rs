//! Which containers there are, each with how it is now.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Error, Result};
use ch04_commit::Record;
use common::state::Id;
use common::state::State;
use common::step::Step;

use crate::Now;

/// A container of the list.
#[derive(Debug)]
pub struct Listed {
    /// As it was made.
    pub record: Record,
    /// How it is.
    pub now: Now,
}

// ANCHOR: listed
/// The containers, the newest first: those that somebody holds, or all; and what went
/// wrong with others.
///
/// # Errors
/// Those of readdir(3).
pub fn listed(state: &State, all: bool) -> Result<(Vec<Listed>, Vec<Error>)> {
    let stayed = if all { ids(&state.containers())? } else { BTreeSet::new() };
    // After the others: who has a directory by then has a lock file, until the end.
    let held = ids(&state.running())?;
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for id in stayed.union(&held) {
        match look(state, id, held.contains(id)) {
            Ok(one) => found.extend(one.filter(|one| all || one.now.lives())),
            Err(error) => errors.push(error.context(format!("container {id}"))),
        }
    }
    found.sort_by(|one: &Listed, other| {
        let [one, other] = [one, other].map(|it| (it.record.created, &it.record.id));
        other.cmp(&one)
    });
    Ok((found, errors))
}

/// One; `None` when it has no record: it is being made, or removed, or of a chapter
/// before images.
fn look(state: &State, id: &Id, held: bool) -> Result<Option<Listed>> {
    let Some(record) = Record::read(state, id)? else { return Ok(None) };
    let now = match held {
        true => Now::look(&record, state)?,
        false => Now::ended(&record, state, Now::Dead)?,
    };
    Ok(now.map(|now| Listed { record, now }))
}
// ANCHOR_END: listed

fn ids(place: &Path) -> Result<BTreeSet<Id>> {
    let entries = match fs::read_dir(place) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.look(|| format!("readdir(3) {}", place.display()))?,
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        let entry = entry.look(|| format!("readdir(3) {}", place.display()))?;
        found.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
    }
    Ok(found)
}
