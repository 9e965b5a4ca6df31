//! `--init`: a small init process as PID 1.

use anyhow::Result;
use common::{ParentLink, Part, Plan, Running, SafeBinary, stay_as_init};

/// The part for an init process: PID 1 that forwards signals to the program, reaps
/// orphans, and ends with the program's exit status.
///
/// # Source
/// pid_namespaces(7), "The namespace init process"
#[derive(Debug)]
pub struct Init {
    wanted: Option<SafeBinary>,
}

impl Init {
    /// Create the part; `None` means no init process. The init process is visible in
    /// the container, so it runs from a file that is not the host's binary.
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

    // The position in the list of parts matters. Parts before this one, such as the
    // namespaces, apply to the init process and the program. Parts after it apply
    // only to the program: its streams and its terminal.
    fn enter(&self, _plan: &Plan, link: &ParentLink) -> Result<()> {
        self.wanted.map_or(Ok(()), |binary| stay_as_init(link, binary))
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        if self.wanted.is_some() {
            let program = running.take(self.name())?;
            running.set_program(program)?;
        }
        Ok(())
    }
}
// ANCHOR_END: part
