//! `--init`: a small process 1 above the program.

use anyhow::Result;
use common::{Part, Plan, Running, Up, stay_as_init};

/// A process 1 that forwards signals to the program, reaps what others leave, and ends
/// as the program does.
///
/// # Source
/// pid_namespaces(7), "The namespace init process"
#[derive(Debug)]
pub struct Init {
    wanted: bool,
}

impl Init {
    /// If it is wanted.
    #[must_use]
    pub fn new(wanted: bool) -> Init {
        Init { wanted }
    }
}

// ANCHOR: part
impl Part for Init {
    fn name(&self) -> &'static str {
        "init"
    }

    // After the walls, which both stand in. The parts that come later are the program's
    // alone: its streams, its terminal, its user.
    fn enter(&self, _plan: &Plan, up: &Up) -> Result<()> {
        if self.wanted { stay_as_init(up) } else { Ok(()) }
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        if self.wanted {
            let program = running.take(self.name())?;
            running.program_is(program)?;
        }
        Ok(())
    }
}
// ANCHOR_END: part
