//! A container's own group: made with its limits, and gone with it.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Result;
use common::state::Undo;
use common::{Exit, Home, Part, Plan};
use nix::unistd::Pid;

use crate::destroy::destroy;
use crate::group::Group;
use crate::limits::Flags;
use crate::place::make_way;

/// A group for the container, which the parent moves it into: the plain way.
/// Moving somebody else makes the kernel wait until nobody is in the middle of
/// making a thread; chapter 3 has the way without.
///
/// # Source
/// cgroups(7)
#[derive(Debug)]
pub struct Limited {
    flags: Flags,
    group: Option<Group>,
}

impl Limited {
    /// With these limits; without any there is no group.
    #[must_use]
    pub fn new(flags: Flags) -> Limited {
        Limited { flags, group: None }
    }
}

// ANCHOR: part
impl Part for Limited {
    fn name(&self) -> &'static str {
        "limits"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        self.group = make(&self.flags, &plan.home)?;
        Ok(())
    }

    fn attach(&mut self, _plan: &Plan, child: Pid) -> Result<()> {
        let child = child.as_raw().unsigned_abs();
        self.group.as_ref().map_or(Ok(()), |group| group.add(child))
    }

    fn ended(&self, home: &Home, _how: Exit) -> Result<()> {
        unmake(home)
    }
}
// ANCHOR_END: part

/// What the container's directory has noted of its groups, by path.
const NOTE: &str = "group";

/// The clean-up row of this chapter.
pub const UNDO: &[Undo] = &[Undo { kind: NOTE, undo: unmake }];

/// Make the container's group and set its limits. Without limits there is none, or
/// one to be frozen by, if that can be had.
///
/// # Errors
/// A controller that isn't there, a value that the kernel refuses.
pub fn make(flags: &Flags, home: &Home) -> Result<Option<Group>> {
    if !flags.is_empty() {
        return make_for(flags, home).map(Some);
    }
    // Nobody asked for it: where groups can't be made the container has none.
    Ok(flags.freezable.then(|| make_for(flags, home).ok()).flatten())
}

fn make_for(flags: &Flags, home: &Home) -> Result<Group> {
    let group = flags.plan(home.id.as_str())?;
    // Before there is anything: whoever finds the notes removes what they name.
    let places = group.places.iter().map(|place| place.path.as_os_str().as_bytes());
    home.note_all(NOTE, &places.collect::<Vec<_>>())?;
    for place in &group.places {
        make_way(&place.hierarchy)?;
    }
    group.make()?;
    flags.set(&group)?;
    Ok(group)
}

/// Where the container's group lies, one directory a hierarchy, as far as it could be
/// made.
///
/// # Errors
/// Those of read(2).
pub fn places(home: &Home) -> Result<Vec<PathBuf>> {
    Ok(home.noted(NOTE)?.into_iter().map(PathBuf::from).collect())
}

/// Remove the container's group, with whoever is left in it.
///
/// # Errors
/// A process that doesn't die.
pub fn unmake(home: &Home) -> Result<()> {
    places(home)?.iter().try_for_each(|path| destroy(path))
}
