//! One fault: where a call fails, or a process is killed.

use std::fmt;

use blackbox::{Call, Side};
use nix::errno::Errno;

use crate::table::row_of;

/// The state before the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scene {
    /// An empty state.
    Plain,
    /// A container, with limits and a name, whose supervisor was killed when its
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
    /// Whether the program has already ended, so that only the clean-up remains.
    pub(crate) late: bool,
    /// Whether the previous call has changed something.
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
    /// The part to which the trial belongs. All trials of one kind are in one part, because
    /// the recordings of a run differ a little between the parts.
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
