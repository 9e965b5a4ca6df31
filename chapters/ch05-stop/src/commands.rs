//! The commands that end containers or wait for their end.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Error, Result, bail};
use clap::Args;
use common::cli::{Context, Execute};
use common::state::State;
use common::{Exit, output, step};
use nix::sys::signal::Signal;

use crate::stopped::Continuing;
use crate::target::Target;
use crate::{signal, stop};

common::commands! {
    /// The commands about a container's end.
    #[derive(Debug)]
    pub enum StopCommands {
        /// Stop containers: send SIGTERM, and SIGKILL after a timeout
        Stop(Stop),
        /// Send a signal to containers
        Kill(Kill),
        /// Wait until containers have ended, and print their exit statuses
        Wait(Wait),
    }
}

/// Stop containers: send SIGTERM, and SIGKILL after a timeout
#[derive(Args, Debug)]
pub struct Stop {
    /// Seconds to wait before SIGKILL
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    time: u32,

    #[command(flatten)]
    which: ContainerArgs,
}

/// Send a signal to containers
#[derive(Args, Debug)]
pub struct Kill {
    /// Signal name, with or without SIG, or number
    ///
    /// The container's first process receives the signal. The kernel drops a signal
    /// for which this process has no handler, except KILL and STOP.
    #[arg(short, long, value_parser = signal::parse, default_value = "KILL")]
    signal: Signal,

    #[command(flatten)]
    which: ContainerArgs,
}

/// Wait until containers have ended, and print their exit statuses
#[derive(Args, Debug)]
pub struct Wait {
    #[command(flatten)]
    which: ContainerArgs,
}

/// The containers of a command.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct ContainerArgs {
    /// Names, IDs, or unique ID prefixes of the containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Execute for Stop {
    fn execute(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        let (targets, mut errors) = self.which.find(state);
        let patience = Duration::from_secs(self.time.into());
        let first = targets.iter().filter_map(|target| target.first).collect();
        let _continuing = Continuing::parents_of(first);
        let stopped = stop::stop(&targets, patience);
        for (target, stopped) in targets.into_iter().zip(stopped) {
            let word = target.word.clone();
            // Print the name only after the supervisor has recorded the end.
            match stopped.and_then(|()| target.wait_until_cleaned_up(state)) {
                Ok(_) => errors.extend(tell(&word).err()),
                Err(error) => errors.push(error),
            }
        }
        finish(errors)
    }
}

impl Execute for Kill {
    fn execute(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        let (targets, mut errors) = self.which.find(state);
        for target in targets {
            match self.one(&target) {
                Ok(()) => errors.extend(tell(&target.word).err()),
                Err(error) => errors.push(error),
            }
        }
        finish(errors)
    }
}

impl Kill {
    fn one(&self, target: &Target) -> Result<()> {
        if !target.send(self.signal)? {
            bail!("container {} is not running", target.word);
        }
        if self.signal == Signal::SIGKILL { target.thaw(true) } else { Ok(()) }
    }
}

impl Execute for Wait {
    fn execute(self, context: &Context) -> Result<Exit> {
        let state = &context.state;
        // Find all containers first: one may be removed while this process waits for
        // another.
        let (targets, mut errors) = self.which.find(state);
        for target in targets {
            match crate::wait(target, state) {
                Ok(code) => errors.extend(tell(&code).err()),
                Err(error) => errors.push(error),
            }
        }
        finish(errors)
    }
}

impl ContainerArgs {
    /// Find the containers. Returns an error for each that is not found.
    fn find(&self, state: &State) -> (Vec<Target>, Vec<Error>) {
        let mut targets = Vec::new();
        let mut errors = Vec::new();
        for word in &self.containers {
            match Target::find(state, word) {
                Ok(target) => targets.push(target),
                Err(error) => errors.push(error),
            }
        }
        (targets, errors)
    }
}

fn tell(what: &dyn Display) -> Result<()> {
    output::print(&format!("{what}\n"))
}

fn finish(errors: Vec<Error>) -> Result<Exit> {
    step::join_errors(errors.into_iter().map(Err))?;
    Ok(Exit::Code(0))
}
