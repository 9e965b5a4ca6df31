//! The part of a container's record that a list shows.

use anyhow::{Context, Result};

use crate::state::directory::State;
use crate::state::fields::Fields;
use crate::state::home::Home;
use crate::state::id::Id;
use crate::state::name::Name;
use crate::state::record::{RECORD, damaged, read};

/// A container as it was created, without the fields that only its program needs. A
/// list reads hundreds of records, and the environment is the largest part of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its ID.
    pub id: Id,
    /// Its name, if the user gave one.
    pub name: Option<Name>,
    /// The image's name.
    pub image: String,
    /// Program and arguments, for display: bytes that are not UTF-8 are replaced.
    pub command: Vec<String>,
    /// Seconds after 1970.
    pub created: u64,
}

impl Summary {
    /// The summary of one container; `None` if it has no record or was removed.
    ///
    /// # Errors
    /// The record cannot be read, or is damaged.
    pub fn read(state: &State, id: &Id) -> Result<Option<Summary>> {
        let Some(text) = read(state, id, RECORD)? else { return Ok(None) };
        let summary = Summary::from(id, &text);
        summary.map(Some).with_context(|| damaged(state, id, RECORD))
    }

    fn from(id: &Id, text: &[u8]) -> Result<Summary> {
        let fields = Fields::read(text)?;
        let name = fields.word_if_any("name")?;
        Ok(Summary {
            id: id.clone(),
            name: name.map(|name| name.parse()).transpose()?,
            image: fields.word("image")?,
            command: fields.words("command")?,
            created: fields.number("created")?,
        })
    }

    /// The identity and state directory of this container.
    #[must_use]
    pub fn home(&self, state: &State) -> Home {
        Home { id: self.id.clone(), name: self.name.clone(), state: state.clone() }
    }

    /// The name if there is one, otherwise the ID.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.name.as_ref().map_or(self.id.as_str(), Name::as_str)
    }
}
