//! Finding a container by the name or ID that the user gave.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::state::directory::State;
use crate::state::name::Name;
use crate::state::record::Record;
use crate::state::sweep::ids;

impl Record {
    /// The container with this name, with this ID, or the only container whose ID
    /// begins with this prefix.
    ///
    /// # Errors
    /// No container matches; several containers match; the record cannot be read.
    pub fn find(state: &State, word: &str) -> Result<Record> {
        let named = match word.parse::<Name>() {
            Ok(name) => state.named(&name)?,
            Err(_) => None,
        };
        if let Some(id) = named.as_deref().and_then(Path::to_str) {
            return Record::read(state, &id.parse()?)?.with_context(|| {
                format!(
                    "container {word} has no record: it is being created or removed"
                )
            });
        }
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        let begins = |id: &str| {
            !word.is_empty() && word.bytes().all(hex) && id.starts_with(word)
        };
        let ids = ids(&state.containers())?;
        let mut found = ids.iter().filter(|id| begins(id.as_str()));
        match (found.next(), found.count()) {
            (None, _) => bail!("container {word:?} not found: give a name or an ID"),
            (Some(id), 0) => Record::read(state, id)?.with_context(|| {
                format!(
                    "container {id} has no record: it is being created or removed, or \
                     a chapter before images runs it"
                )
            }),
            (_, more) => bail!(
                "the ID prefix {word:?} is ambiguous ({} containers): give more \
                 characters",
                more + 1
            ),
        }
    }

    /// All containers that have a record, the oldest first.
    ///
    /// # Errors
    /// A record cannot be read or is damaged.
    pub fn all(state: &State) -> Result<Vec<Record>> {
        let mut all = Vec::new();
        for id in ids(&state.containers())? {
            all.extend(Record::read(state, &id)?);
        }
        all.sort_by(|one: &Record, other| {
            (one.created, &one.id).cmp(&(other.created, &other.id))
        });
        Ok(all)
    }
}
