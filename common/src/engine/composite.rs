//! A part that consists of parts.

use anyhow::Result;
use nix::unistd::Pid;

use crate::cli::step::join_errors;
use crate::engine::part::{CloneArgs, ParentLink, Part};
use crate::engine::plan::Plan;
use crate::engine::poll_loop::Running;
use crate::process::exit::Exit;
use crate::state::Home;

/// Several parts under one name. Every hook is forwarded in the listed order, and in
/// reverse order for `ended` and `removed`. The engine uses the same orders.
pub struct Composite {
    name: &'static str,
    parts: Vec<Box<dyn Part>>,
}

impl Composite {
    /// A composite without parts.
    #[must_use]
    pub fn new(name: &'static str) -> Composite {
        Composite { name, parts: Vec::new() }
    }

    /// Add a part.
    #[must_use]
    pub fn part(mut self, part: impl Part + 'static) -> Composite {
        self.parts.push(Box::new(part));
        self
    }
}

impl Part for Composite {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        self.parts.iter_mut().try_for_each(|part| part.prepare(plan))
    }

    fn clone_args(&self, args: &mut CloneArgs) {
        self.parts.iter().for_each(|part| part.clone_args(args));
    }

    fn attach(&mut self, plan: &Plan, child: Pid) -> Result<()> {
        self.parts.iter_mut().try_for_each(|part| part.attach(plan, child))
    }

    fn meanwhile(&mut self, plan: &Plan, child: Pid) -> Result<()> {
        self.parts.iter_mut().try_for_each(|part| part.meanwhile(plan, child))
    }

    fn enter(&self, plan: &Plan, link: &ParentLink) -> Result<()> {
        self.parts
            .iter()
            .try_for_each(|part| part.enter(plan, &link.of(part.name())))
    }

    fn started(&mut self, running: &mut Running) -> Result<()> {
        self.parts.iter_mut().try_for_each(|part| part.started(running))
    }

    fn ended(&self, home: &Home, how: Exit) -> Result<()> {
        // Every part is undone, even after an error of another part.
        join_errors(self.parts.iter().rev().map(|part| part.ended(home, how)))
    }

    fn removed(&self, home: &Home) -> Result<()> {
        join_errors(self.parts.iter().rev().map(|part| part.removed(home)))
    }
}
