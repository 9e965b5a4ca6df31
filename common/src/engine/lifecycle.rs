//! The life of a container, as its supervisor executes it. The supervisor is the
//! process outside the container that is the parent of its first process. This file
//! contains the sweep, the parts' hooks in order, the clone, and the hooks that
//! undo, in reverse order.

use anyhow::{Context, Error, Result};
use nix::sched::CloneFlags;

use crate::cli::step::{self, Position};
use crate::engine::part::{CloneArgs, Part};
use crate::engine::plan::{Lifetime, Plan};
use crate::engine::to_exec;
use crate::process::channel::Channel;
use crate::process::child::Child;
use crate::process::clone::{self, Cloned};
use crate::process::exit::{Exit, Failure, code_of};
use crate::process::program::Program;
use crate::state::sweep::{remove_files, sweep_quietly};
use crate::state::{Home, Lock, Table};

/// The parts of a container, and the number of prepared parts. If it is dropped
/// after an error or a panic, it undoes the prepared parts.
pub(crate) struct Lifecycle {
    pub(crate) plan: Plan,
    parts: Vec<Box<dyn Part>>,
    table: Table,
    prepared: usize,
    lock: Option<Lock>,
    pub(crate) how: Exit,
    /// The container's files are kept: the start has succeeded, and the plan's
    /// lifetime is [`Lifetime::UntilRemoved`].
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
        step::set_position(Position {
            side: "parent",
            hook: "prepare",
            part: "home",
        });
        if self.plan.lifetime != Lifetime::NoFiles {
            for dead in self.plan.home.state.sample_dead()? {
                sweep_quietly(&dead, self.table);
            }
            self.lock = Some(self.plan.home.claim(self.table)?);
        }
        for index in 0..self.parts.len() {
            // Increment before the call: a part whose `prepare` fails must be undone
            // too.
            self.prepared = index + 1;
            let part = &mut self.parts[index];
            step::set_position(Position {
                side: "parent",
                hook: "prepare",
                part: part.name(),
            });
            let name = part.name();
            part.prepare(&mut self.plan)
                .with_context(|| format!("prepare {name}"))?;
        }
        let none = CloneFlags::empty();
        let mut args =
            CloneArgs { namespaces: none, cgroup: None, join: None, thawed: None };
        for part in &self.parts {
            part.clone_args(&mut args);
        }
        step::set_position(Position { side: "parent", hook: "clone", part: "" });
        // A joined container already runs processes other than this program.
        let program = Program::new(&self.plan, args.join.is_some())?;
        let (child, channel) = match clone::make(&args)? {
            Cloned::Parent(child, channel) => (child, channel),
            Cloned::Child(channel) => {
                // A locked lock file means that the supervisor is alive. The child
                // must therefore not keep the lock.
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
            step::set_position(Position { side: "parent", hook, part: name });
            call(part.as_mut(), &self.plan)
                .with_context(|| format!("{hook} {name}"))?;
        }
        Ok(())
    }

    /// Undo the prepared parts, once. All errors are returned as one.
    pub(crate) fn undo(&mut self) -> Option<Error> {
        if self.undone {
            return None;
        }
        self.undone = true;
        let mut errors = Vec::new();
        let (home, parts) = (&self.plan.home, &self.parts[..self.prepared]);
        ended(parts, home, self.how, &mut errors);
        if self.settled {
            release_lock_file(home, &mut errors);
        } else {
            removed(parts, home, &mut errors);
            if self.plan.lifetime != Lifetime::NoFiles {
                remove_all_files(home, &mut errors);
            }
        }
        self.lock = None;
        step::join_errors(errors.into_iter().map(Err)).err()
    }

    /// Undo the prepared parts because of an error, and return that error.
    pub(crate) fn undo_after(mut self, error: Error) -> Error {
        match self.undo() {
            None => error,
            Some(also) => {
                let code = code_of(&error);
                let error = step::report(&error);
                let also = step::report(&also);
                Failure {
                    code,
                    text: format!("{error}\nand the clean-up failed: {also}"),
                }
                .into()
            }
        }
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        // Prepared parts remain only after a panic, or if a caller drops a
        // container that never ran. In both cases no caller can receive the error.
        let _ = self.undo();
    }
}

/// Call `ended` of every part in reverse order, even after an error.
fn ended(parts: &[Box<dyn Part>], home: &Home, how: Exit, errors: &mut Vec<Error>) {
    for part in parts.iter().rev() {
        let name = part.name();
        step::set_position(Position { side: "parent", hook: "ended", part: name });
        let ended = part.ended(home, how);
        errors.extend(ended.err().map(|e| e.context(format!("ended {name}"))));
    }
}

/// Call `removed` of every part in reverse order, even after an error.
fn removed(parts: &[Box<dyn Part>], home: &Home, errors: &mut Vec<Error>) {
    for part in parts.iter().rev() {
        let name = part.name();
        step::set_position(Position { side: "parent", hook: "removed", part: name });
        let removed = part.removed(home);
        errors.extend(removed.err().map(|e| e.context(format!("removed {name}"))));
    }
}

/// Release the lock file of a container that has ended. If something could not be
/// undone, the lock file stays: a later command finds the container by it and tries
/// again.
fn release_lock_file(home: &Home, errors: &mut Vec<Error>) {
    if errors.is_empty() {
        errors.extend(home.release().err());
    }
}

/// Remove all files of a container. If something could not be undone, the files
/// stay for a later command, as in [`release_lock_file`].
fn remove_all_files(home: &Home, errors: &mut Vec<Error>) {
    if errors.is_empty() {
        step::set_position(Position {
            side: "parent",
            hook: "removed",
            part: "home",
        });
        errors.extend(remove_files(home).err());
    }
}
