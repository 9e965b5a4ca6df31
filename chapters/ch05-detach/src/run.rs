//! `run`, and how it is with the terminal: in front of it, or away from it.

use anyhow::{Context as _, Result};
use ch03_run::Terminal;
use clap::Args;
use common::cli::{Act, Context};
use common::exit::Failure;
use common::{Container, Exit, output};

use crate::entry::Stream;
use crate::log::Log;
use crate::logged::Logged;

/// Flags of this chapter, and those that they have to do with.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Run in the background, and print the container's id once its program runs
    #[arg(short, long)]
    pub detach: bool,

    /// The terminal's.
    #[command(flatten)]
    pub terminal: ch03_run::Flags,
}

/// Run a program in a container of an image
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    #[command(flatten)]
    flags: Flags,

    #[command(flatten)]
    run: ch04_image::Run,
}

impl Act for Run {
    fn act(self, context: &Context) -> Result<Exit> {
        self.flags.check()?;
        let container = self.run.container(context)?;
        self.flags.start(self.flags.parts(container, Log::default()))
    }
}

impl Flags {
    /// Whether they go together.
    ///
    /// # Errors
    /// Flags that don't.
    pub fn check(&self) -> Result<()> {
        if self.detach && (self.terminal.tty || self.terminal.interactive) {
            let text =
                "-d leaves the terminal, and -t and -i want it: give -d, or -ti";
            return Err(Failure { code: 2, text: text.to_owned() }.into());
        }
        Ok(())
    }

    // ANCHOR: run
    /// The container, with the parts that it talks through, into this log.
    #[must_use]
    pub fn parts(&self, container: Container, log: Log) -> Container {
        let copy = log.clone();
        // In the background there is no terminal of the user's to be one with.
        let none = ch03_run::Flags::default();
        let flags = if self.detach { &none } else { &self.terminal };
        let terminal = Terminal::new(flags)
            .copied_to(move |bytes| copy.write(Stream::Out, bytes));
        container.part(Logged::new(log, self.detach)).part(terminal)
    }

    /// Run a container that has all its parts: to its end, or in the background.
    ///
    /// # Errors
    /// Those of [`Container::run`] and [`Container::detach`].
    pub fn start(&self, container: Container) -> Result<Exit> {
        if !self.detach {
            return container.run();
        }
        let id = container.detach()?;
        output::print(&format!("{id}\n")).with_context(|| {
            format!("print the id of container {id}, which runs")
        })?;
        Ok(Exit::Code(0))
    }
    // ANCHOR_END: run
}
