//! The host side of a container's life: the sweep, the parts' hooks in order, the clone, and
//! the hooks that undo, in reverse order.

use anyhow::{Context, Error, Result};
use nix::sched::CloneFlags;

use crate::cli::step::{self, Scene};
use crate::engine::part::{Birth, Part};
use crate::engine::plan::{Lifetime, Plan};
use crate::engine::to_exec;
use crate::process::channel::Channel;
use crate::process::child::Child;
use crate::process::clone::{self, Born};
use crate::process::exit::{Exit, Failure, code_of};
use crate::process::program::Program;
use crate::state::sweep::{remove_files, sweep_quietly};
use crate::state::{Home, Lock, Table};

/// The parts, and how far they got. Dropped early, by an error or a panic, it
/// undoes them.
pub(crate) struct Lifecycle {
    pub(crate) plan: Plan,
    parts: Vec<Box<dyn Part>>,
    table: Table,
    prepared: usize,
    lock: Option<Lock>,
    pub(crate) how: Exit,
    /// What is kept stays: the start is over, and was asked to leave something.
    pub(crate) settled: bool,
    undone: bool,
}

impl Lifecycle {
    pub(crate) fn new(
        plan: Plan,
        parts: Vec<Box<dyn Part>>,
        table: Table,
    ) -> Lifecycle {
        Lifecycle {
            plan,
            parts,
            table,
            prepared: 0,
            lock: None,
            how: Exit::NotStarted,
            settled: false,
            undone: false,
        }
    }

    pub(crate) fn build(&mut self) -> Result<(Child, Channel)> {
        step::scene(Scene { side: "parent", hook: "prepare", part: "home" });
        if self.plan.lifetime != Lifetime::NoFiles {
            for dead in self.plan.home.state.dead_by_chance()? {
                sweep_quietly(&dead, self.table);
            }
            self.lock = Some(self.plan.home.claim(self.table)?);
        }
        for index in 0..self.parts.len() {
            // Counted before it is called: a part that fails half-way is undone.
            self.prepared = index + 1;
            let part = &mut self.parts[index];
            step::scene(Scene {
                side: "parent",
                hook: "prepare",
                part: part.name(),
            });
            let name = part.name();
            part.prepare(&mut self.plan)
                .with_context(|| format!("prepare {name}"))?;
        }
        let none = CloneFlags::empty();
        let mut birth = Birth { namespaces: none, cgroup: None, join: None };
        for part in &self.parts {
            part.birth(&mut birth);
        }
        step::scene(Scene { side: "parent", hook: "clone", part: "" });
        // A program that joins a container is not alone in it.
        let program = Program::new(&self.plan, birth.join.is_some())?;
        let (child, channel) = match clone::make(&birth)? {
            Born::Parent(child, channel) => (child, channel),
            Born::Child(channel) => {
                // The lock says that the host side lives, which this is not.
                self.lock = None;
                to_exec::main(&self.plan, &self.parts, program, channel)
            }
        };
        self.each("attach", |part, plan| part.attach(plan, child.pid()))?;
        Ok((child, channel))
    }

    /// Call one hook of every part, in order.
    pub(crate) fn each(
        &mut self,
        hook: &'static str,
        mut call: impl FnMut(&mut dyn Part, &Plan) -> Result<()>,
    ) -> Result<()> {
        for part in &mut self.parts {
            let name = part.name();
            step::scene(Scene { side: "parent", hook, part: name });
            call(part.as_mut(), &self.plan)
                .with_context(|| format!("{hook} {name}"))?;
        }
        Ok(())
    }

    /// Undo what stands, once. What goes wrong is given back as one error.
    pub(crate) fn undo(&mut self) -> Option<Error> {
        if self.undone {
            return None;
        }
        self.undone = true;
        let mut errors = Vec::new();
        let (home, parts) = (&self.plan.home, &self.parts[..self.prepared]);
        ended(parts, home, self.how, &mut errors);
        if self.settled {
            let_go(home, &mut errors);
        } else {
            removed(parts, home, &mut errors);
            if self.plan.lifetime != Lifetime::NoFiles {
                forget(home, &mut errors);
            }
        }
        self.lock = None;
        step::join_errors(errors.into_iter().map(Err)).err()
    }

    /// Undo what stands because of an error, which is given back.
    pub(crate) fn fall(mut self, error: Error) -> Error {
        match self.undo() {
            None => error,
            Some(also) => {
                let code = code_of(&error);
                let error = step::report(&error);
                let also = step::report(&also);
                Failure { code, text: format!("{error}\nand then: {also}") }.into()
            }
        }
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        // Only a panic or a caller that drops a container unrun comes here with
        // something left, and neither has anybody to give an error to.
        let _ = self.undo();
    }
}

/// `ended` of every part in reverse; all are tried.
fn ended(parts: &[Box<dyn Part>], home: &Home, how: Exit, errors: &mut Vec<Error>) {
    for part in parts.iter().rev() {
        let name = part.name();
        step::scene(Scene { side: "parent", hook: "ended", part: name });
        let ended = part.ended(home, how);
        errors.extend(ended.err().map(|e| e.context(format!("ended {name}"))));
    }
}

/// `removed` of every part in reverse; all are tried.
fn removed(parts: &[Box<dyn Part>], home: &Home, errors: &mut Vec<Error>) {
    for part in parts.iter().rev() {
        let name = part.name();
        step::scene(Scene { side: "parent", hook: "removed", part: name });
        let removed = part.removed(home);
        errors.extend(removed.err().map(|e| e.context(format!("removed {name}"))));
    }
}

/// Let a container that has ended be, unless something could not be undone: the lock
/// file is what a later command finds it by, and tries again.
fn let_go(home: &Home, errors: &mut Vec<Error>) {
    if errors.is_empty() {
        errors.extend(home.release().err());
    }
}

/// Remove all of a container, under the same condition.
fn forget(home: &Home, errors: &mut Vec<Error>) {
    if errors.is_empty() {
        step::scene(Scene { side: "parent", hook: "removed", part: "home" });
        errors.extend(remove_files(home).err());
    }
}
