//! `-d`: a detached program.

use std::fs::File;

use anyhow::{Context, Result};
use ch04_pivot_root::own_null;
use common::step::Step;
use common::{OnParentDeath, ParentLink, Part, Plan, Session, StreamSource};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

/// The part that separates the program from the caller: it has none of the caller's
/// streams, another session, and does not end with the caller.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    null: Option<File>,
}

impl Part for Alone {
    fn name(&self) -> &'static str {
        "alone"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        // Open the host's /dev/null: inside the container, this name may be any
        // file.
        let null = File::options().read(true).write(true).open("/dev/null");
        self.null = Some(null.untraced(|| "open(2) /dev/null")?);
        plan.session = Session::Own;
        plan.on_parent_death = OnParentDeath::Continue;
        Ok(())
    }

    fn enter(&self, _plan: &Plan, link: &ParentLink) -> Result<()> {
        setsid().step(|| "setsid(2)")?;
        let null = self.null.as_ref().context("prepare opens it")?;
        dup2_stdin(null).step(|| "dup2(2) /dev/null to 0")?;
        dup2_stdout(null).step(|| "dup2(2) /dev/null to 1")?;
        dup2_stderr(null).step(|| "dup2(2) /dev/null to 2")?;
        link.seal().streams = [StreamSource::Container; 3];
        own_null()
    }
}
