//! The walls of chapter 2 as one part.

use anyhow::Result;
use ch02_ipc::Ipc;
use ch02_mount::Mount;
use ch02_net::Net;
use ch02_pid::Pid;
use ch02_uts::Uts;
use common::{Birth, Part, Plan, Up};

/// Host name, IPC, process ids, mounts, network: a bundle of parts is a part.
#[derive(Debug)]
pub struct Walls {
    uts: Uts,
}

impl Walls {
    /// With this host name.
    #[must_use]
    pub fn new(uts: ch02_uts::Flags) -> Walls {
        Walls { uts: Uts::new(uts) }
    }
}

// ANCHOR: part
impl Part for Walls {
    fn name(&self) -> &'static str {
        "walls"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        self.uts.prepare(plan)
    }

    fn birth(&self, birth: &mut Birth) {
        for wall in [&self.uts as &dyn Part, &Ipc, &Pid, &Mount, &Net] {
            wall.birth(birth);
        }
    }

    fn enter(&self, plan: &Plan, up: &Up) -> Result<()> {
        self.uts.enter(plan, up)?;
        Mount.enter(plan, up)
    }
}
// ANCHOR_END: part
