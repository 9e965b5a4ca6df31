//! Finding a container by the name or ID that the user gave.

use std::path::Path;

use anyhow::{Context, Error, Result, bail};

use crate::state::directory::State;
use crate::state::fields::is_newer;
use crate::state::home::Home;
use crate::state::id::Id;
use crate::state::name::Name;
use crate::state::record::Record;
use crate::state::sweep::ids;

/// Records that were read, and the IDs of containers whose records are damaged.
pub type Readable = (Vec<Record>, Vec<(Id, Error)>);

impl Record {
    /// The container with this name, with this ID, or the only container whose ID
    /// begins with this prefix.
    ///
    /// # Errors
    /// No container matches; several containers match; the record cannot be read.
    pub fn find(state: &State, word: &str) -> Result<Record> {
        let id = id_of(state, word)?;
        Record::read(state, &id)?.with_context(|| without_record(word, &id))
    }

    /// All containers that have a record, the oldest first, and those whose record is
    /// damaged.
    ///
    /// # Errors
    /// readdir(3) fails.
    pub fn all(state: &State) -> Result<Readable> {
        let (mut all, mut damaged) = (Vec::new(), Vec::new());
        for id in ids(&state.containers())? {
            match Record::read(state, &id) {
                Ok(record) => all.extend(record),
                Err(error) => damaged.push((id, error)),
            }
        }
        all.sort_by(|one: &Record, other| {
            (one.created, &one.id).cmp(&(other.created, &other.id))
        });
        Ok((all, damaged))
    }
}

/// A container that was found, to be ended or removed: that needs no whole record.
#[derive(Debug)]
pub struct FoundContainer {
    /// Where its files are.
    pub home: Home,
    /// Its record; `None` if that is damaged.
    pub record: Option<Record>,
}

impl FoundContainer {
    /// The container with this name, this ID, or the only one whose ID begins so; also if
    /// its record is damaged.
    ///
    /// # Errors
    /// There is none; there are several; a newer version made it.
    pub fn find(state: &State, word: &str) -> Result<FoundContainer> {
        let id = id_of(state, word)?;
        match Record::read(state, &id) {
            Ok(None) => bail!(without_record(word, &id)),
            Ok(Some(record)) => {
                Ok(FoundContainer { home: record.home(state), record: Some(record) })
            }
            Err(error) if is_newer(&error) => Err(error),
            Err(_) => {
                Ok(FoundContainer { home: Home::salvaged(state, id)?, record: None })
            }
        }
    }

    /// The name, or else the ID.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.home.name.as_ref().map_or(self.home.id.as_str(), Name::as_str)
    }
}

impl Home {
    /// A container whose record cannot be read. Its name is found in the directory
    /// of names.
    ///
    /// # Errors
    /// readdir(3) fails.
    pub fn salvaged(state: &State, id: Id) -> Result<Home> {
        let name = state.name_of(&id)?;
        Ok(Home { id, name, state: state.clone() })
    }
}

/// The ID of the container with this name, this ID, or the only one that begins so.
fn id_of(state: &State, word: &str) -> Result<Id> {
    let named = match word.parse::<Name>() {
        Ok(name) => state.named(&name)?,
        Err(_) => None,
    };
    if let Some(id) = named.as_deref().and_then(Path::to_str) {
        return id.parse().with_context(|| {
            format!(
                "the name {word} is damaged: `rm {word}` or a new container of this \
                 name removes it"
            )
        });
    }
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let begins =
        |id: &str| !word.is_empty() && word.bytes().all(hex) && id.starts_with(word);
    let ids = ids(&state.containers())?;
    let mut found = ids.into_iter().filter(|id| begins(id.as_str()));
    match (found.next(), found.count()) {
        (None, _) => bail!("container {word:?} not found: give a name or an ID"),
        (Some(id), 0) => Ok(id),
        (_, more) => bail!(
            "the ID prefix {word:?} is ambiguous ({} containers): give more \
             characters",
            more + 1
        ),
    }
}

fn without_record(word: &str, id: &Id) -> String {
    // Only containers of later chapters have names.
    let chapter = match id.as_str().starts_with(word) {
        true => ", or a chapter before ch04-image runs it",
        false => "",
    };
    format!(
        "container {word} has no record: it is being created or removed{chapter}"
    )
}
