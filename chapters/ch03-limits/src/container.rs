//! The container's own group: created with its limits, and removed with the
//! container.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Result;
use ch02_cgroups::{Group, release};
use common::Home;
use common::state::Undo;

use crate::destroy::destroy;
use crate::flags::Flags;

/// The kind of the notes that contain the paths of a container's groups.
const NOTE: &str = "group";

/// The clean-up row of this chapter.
pub const UNDO: &[Undo] = &[Undo { kind: NOTE, undo: remove_group }];

/// Create the container's group and set its limits.
///
/// Without limits there is no group, except a group for freezing if `freezable` is
/// set and the group can be created.
///
/// # Errors
/// A controller is missing, or the kernel refuses a value.
pub(crate) fn make(flags: &Flags, home: &Home) -> Result<Option<Group>> {
    if !flags.is_empty() {
        return make_for(flags, home).map(Some);
    }
    // No limit was requested: a failure here is no reason to refuse the container.
    Ok(flags.freezable.then(|| make_for(flags, home).ok()).flatten())
}

fn make_for(flags: &Flags, home: &Home) -> Result<Group> {
    let group = flags.plan(home.id.as_str())?;
    // The notes come first: a sweep removes what they name.
    let places = group.places.iter().map(|place| place.path.as_os_str().as_bytes());
    home.note_all(NOTE, &places.collect::<Vec<_>>())?;
    group.make()?;
    flags.set(&group)?;
    Ok(group)
}

/// The directories of the container's group, one in each hierarchy. Some may not
/// exist.
///
/// # Errors
/// EIO if the notes cannot be read.
pub fn places(home: &Home) -> Result<Vec<PathBuf>> {
    let notes = home.notes()?;
    if notes.are_damaged() {
        // They said where the group is: it has the container's ID in its name.
        let group = Group::find(home.id.as_str());
        let places = group.map(|group| group.places).unwrap_or_default();
        return Ok(places.into_iter().map(|place| place.path).collect());
    }
    Ok(home.noted(NOTE)?.into_iter().map(PathBuf::from).collect())
}

/// Kill the processes that remain in the container's group, and remove the group.
///
/// # Errors
/// EBUSY from rmdir(2) if a process does not end within two seconds.
pub fn remove_group(home: &Home) -> Result<()> {
    for path in places(home)? {
        destroy(&path)?;
        path.parent().into_iter().for_each(release);
    }
    Ok(())
}
