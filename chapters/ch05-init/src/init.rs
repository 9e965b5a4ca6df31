//! `--init`: a small process 1 above the program.

use anyhow::Result;
use common::{Part, Plan, Running, SafeBinary, Up, stay_as_init};

/// A process 1 that forwards signals to the program, reaps what others leave, and ends
/// as the program does.
///
/// # Source
/// pid_namespaces(7), "The namespace init process"
#[derive(Debug)]
pub struct Init {
    wanted: Option<SafeBinary>,
}

impl Init {
    /// If it is wanted: process 1 stays visible, so it runs from a file that is not the
    /// host's binary.
    #[must_use]
    pub fn new(wanted: Option<SafeBinary>) -> Init {
        Init { wanted }
    }
}

// ANCHOR: part
impl Part for Init {
    fn name(&self) -> &'static str {
        "init"
    }

    fn prepare(&mut self, _plan: &mut Plan) -> Result<()> {
        if let Some(binary) = self.wanted {
            binary.trace();
        }
        Ok(())
    }

    // After the walls, which both stand in. The parts that come later are the program's
    // alone: its streams and its terminal.
    fn enter(&self, _plan: &Plan, up: &Up) -> Result<()> {
        self.wanted.map_or(Ok(()), |binary| stay_as_init(up, binary))
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        if self.wanted.is_some() {
            let program = running.take(self.name())?;
            running.program_is(program)?;
        }
        Ok(())
    }
}
// ANCHOR_END: part
