//! `-d`: a program that nobody waits for.

use std::fs::File;

use anyhow::{Context, Result};
use ch04_pivot_root::own_null;
use common::step::Step;
use common::{OnParentDeath, Part, Plan, Session, StreamSource, Up};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

/// Nothing of the caller's: no stream, no terminal, no wish to die with it.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    null: Option<File>,
}

impl Part for Alone {
    fn name(&self) -> &'static str {
        "alone"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        // The host's: what has that name inside may be anything.
        let null = File::options().read(true).write(true).open("/dev/null");
        self.null = Some(null.look(|| "open(2) /dev/null")?);
        plan.session = Session::Own;
        plan.on_parent_death = OnParentDeath::Continue;
        Ok(())
    }

    fn enter(&self, _plan: &Plan, up: &Up) -> Result<()> {
        setsid().step(|| "setsid(2)")?;
        let null = self.null.as_ref().context("prepare opens it")?;
        dup2_stdin(null).step(|| "dup2(2) /dev/null to 0")?;
        dup2_stdout(null).step(|| "dup2(2) /dev/null to 1")?;
        dup2_stderr(null).step(|| "dup2(2) /dev/null to 2")?;
        up.seal().streams = [StreamSource::Container; 3];
        own_null()
    }
}
