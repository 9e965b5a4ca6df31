//! One fault: where a call fails, or a process is killed.

use std::fmt;

use blackbox::{Call, Side};
use nix::errno::Errno;

use crate::table::row_of;

/// What the run finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scene {
    /// Nothing.
    Plain,
    /// A container, with limits and a name, whose host side was killed when its
    /// program had ended.
    Sweep,
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    Fails(Errno),
    Kills(Side),
}

/// A fault at a call of a scene.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) scene: Scene,
    pub(crate) call: Call,
    /// Whether the program has ended by then, and what is left is to undo.
    pub(crate) late: bool,
    /// Whether the call before has changed something.
    pub(crate) changed: bool,
    pub(crate) fault: Fault,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.scene == Scene::Sweep {
            f.write_str("sweep:")?;
        }
        let Call { side, number, nth, .. } = &self.call;
        write!(f, "{}:{}#{nth}=", word(*side), row_of(*number).name)?;
        match self.fault {
            Fault::Fails(errno) => write!(f, "{errno:?}"),
            Fault::Kills(side) => write!(f, "kill-{}", word(side)),
        }
    }
}

impl Trial {
    /// The part that it belongs to. All of one kind are in one part: which of them are
    /// alike is not quite the same in each part's own recording of a run.
    pub(crate) fn part(&self, parts: usize) -> usize {
        let fault = match self.fault {
            Fault::Fails(errno) => errno as usize,
            Fault::Kills(side) => 200 + side as usize,
        };
        let side = self.call.side as usize;
        (self.call.number as usize * 7 + fault * 3 + side) % parts
    }
}

pub(crate) fn word(side: Side) -> &'static str {
    match side {
        Side::Host => "host",
        Side::Guest => "child",
    }
}
