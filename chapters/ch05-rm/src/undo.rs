//! What a host side that was killed may have left on the host, and who undoes it.

use anyhow::{Result, bail};
use common::Home;

/// Undoes what was noted under this name in a container's lock; nothing there is fine.
pub type Undo = (&'static str, fn(&Home) -> Result<()>);

// ANCHOR: undo
/// What the chapters up to this one note. A later one that notes more adds to it.
pub const UNDO: &[Undo] = &[("group", ch02_cgroups::unmake)];

/// Notes that tell something, and leave nothing to undo: name and process, how it ended.
const TOLD: [&str; 2] = ["home", ch04_commit::NOTE];

/// Undo all that this container's lock tells of.
pub(crate) fn undo(home: &Home, known: &[Undo]) -> Result<()> {
    let mut steps = Vec::new();
    // All are looked at first: half an undoing would lose the note of the rest.
    for noter in home.noters()? {
        match known.iter().find(|(name, _)| *name == noter) {
            Some((_, step)) => steps.push(step),
            None if TOLD.contains(&noter.as_str()) => {}
            None => bail!(
                "container {} has left something of the kind {noter:?}, which a later \
                 chapter made: remove it by that one's rm",
                home.id
            ),
        }
    }
    steps.iter().try_for_each(|step| step(home))
}
// ANCHOR_END: undo

#[cfg(test)]
mod tests {
    use common::state::Id;
    use common::state::State;

    use super::*;

    #[test]
    fn what_nobody_here_can_undo_is_left_whole() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let home = Home { id: Id::new().unwrap(), name: None, state };
        undo(&home, UNDO).unwrap();
        let _lock = home.make(&["overlay"]).unwrap();
        home.note("home", b"pid 1 1").unwrap();
        home.note("before", b"x").unwrap();
        home.note("link", b"veth0").unwrap();
        let before: Undo = ("before", |home| home.note("undone", b""));
        let error = undo(&home, &[before]).unwrap_err().to_string();
        assert!(error.contains("of the kind \"link\""), "{error}");
        assert!(home.notes("undone").unwrap().is_empty());
        undo(&home, &[before, ("link", |_| Ok(()))]).unwrap();
        assert_eq!(home.notes("undone").unwrap().len(), 1);
    }
}
