//! The undo table: the function that undoes each kind of note.
//!
//! The supervisor of a container may be killed at any moment. Its lock file then has
//! a note for each resource that exists on the host. Sweep, `rm`, `prune` and `rmi`
//! all undo these notes by one table, and none of them knows the parts that wrote
//! the notes.

use anyhow::{Context, Result, bail};

use crate::cli::step::join_errors;
use crate::state::home::Home;
use crate::state::notes::Notes;

/// One row of the table: the function that undoes the notes of one kind.
///
/// The function uses only the state directory and the ID. A resource that does not
/// exist is not an error, and the function may be called twice.
#[derive(Clone, Copy, Debug)]
pub struct Undo {
    /// The kind: the first word of the note.
    pub kind: &'static str,
    /// Undo all notes of this kind.
    pub undo: fn(&Home) -> Result<()>,
}

/// The table of a binary: the rows of the chapters that it links.
pub type Table = &'static [&'static [Undo]];

// ANCHOR: undo
/// Undo everything that the notes name. A container with a note of an unknown kind
/// is left as it is: a partial clean-up would lose the note about the rest.
///
/// # Errors
/// The notes have another format; a kind is unknown; the function of a row fails
/// (the other rows are still undone).
pub(crate) fn undo(home: &Home, notes: &Notes, table: Table) -> Result<()> {
    let rows = rows(home, notes, table)?;
    join_errors(
        rows.iter().map(|row| {
            (row.undo)(home).with_context(|| format!("undo {}", row.kind))
        }),
    )
}

/// The rows that undo these notes.
///
/// # Errors
/// The notes have another format, or a kind is unknown.
pub(crate) fn rows(
    home: &Home,
    notes: &Notes,
    table: Table,
) -> Result<Vec<&'static Undo>> {
    let mut rows = Vec::new();
    // A row finds what it undoes by the ID, and to find nothing is no error.
    if notes.are_damaged() {
        return Ok(table.iter().copied().flatten().collect());
    }
    notes.check_format().with_context(|| unknown(home))?;
    for kind in notes.kinds() {
        match table.iter().copied().flatten().find(|row| row.kind == kind) {
            Some(row) => rows.push(row),
            None => bail!("{}: {}", unknown(home), later(&kind, notes)),
        }
    }
    Ok(rows)
}
// ANCHOR_END: undo

/// Whether this table can undo everything that the notes name.
pub(crate) fn knows(notes: &Notes, table: Table) -> bool {
    let known = |kind: &String| {
        table.iter().copied().flatten().any(|row| row.kind == kind.as_str())
    };
    notes.are_damaged()
        || (notes.check_format().is_ok() && notes.kinds().iter().all(known))
}

fn unknown(home: &Home) -> String {
    let id = &home.id;
    format!(
        "container {id} cannot be cleaned up by this program and is left as it is"
    )
}

fn later(kind: &str, notes: &Notes) -> String {
    let maker = match notes.maker() {
        maker if maker.is_empty() => "a later chapter's program".to_owned(),
        maker => maker,
    };
    format!(
        "it has a note of the unknown kind {kind:?}; `{maker} rm` or `{maker} prune` \
         removes it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Id, State};

    #[test]
    fn a_container_with_an_unknown_note_is_left_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let home = Home { id: Id::new().unwrap(), name: None, state };
        const KNOWN: Undo =
            Undo { kind: "known", undo: |home| home.note("undone", b"") };
        const LINK: Undo = Undo { kind: "link", undo: |_| Ok(()) };
        undo(&home, &home.notes().unwrap(), &[]).unwrap();
        let _lock = home.lock().unwrap();
        home.note("known", b"x").unwrap();
        home.note("link", b"veth0").unwrap();
        let notes = home.notes().unwrap();
        assert!(!knows(&notes, &[&[KNOWN]]));
        let error = undo(&home, &notes, &[&[KNOWN]]).unwrap_err().to_string();
        assert!(error.contains("unknown kind \"link\""), "{error}");
        assert!(error.contains(&format!("`{} rm`", notes.maker())), "{error}");
        assert!(home.noted("undone").unwrap().is_empty());
        undo(&home, &notes, &[&[LINK], &[KNOWN]]).unwrap();
        assert_eq!(home.noted("undone").unwrap().len(), 1);
    }

    #[test]
    fn every_row_is_undone_even_after_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let home = Home { id: Id::new().unwrap(), name: None, state };
        let _lock = home.lock().unwrap();
        home.note("a", b"").unwrap();
        home.note("b", b"").unwrap();
        const ROWS: &[Undo] = &[
            Undo { kind: "a", undo: |_| bail!("it fails") },
            Undo { kind: "b", undo: |home| home.note("undone", b"") },
        ];
        let error = undo(&home, &home.notes().unwrap(), &[ROWS]).unwrap_err();
        assert!(format!("{error:#}").contains("undo a: it fails"), "{error:#}");
        assert_eq!(home.noted("undone").unwrap().len(), 1);
    }
}
