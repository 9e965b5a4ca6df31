//! `run`, in the foreground or detached.

use anyhow::{Context as _, Result};
use ch03_run::Terminal;
use clap::Args;
use common::cli::{Context, Execute};
use common::exit::Failure;
use common::{Container, Exit, output};

use crate::entry::Stream;
use crate::log::Log;
use crate::logged::Logged;

/// Flags of this chapter, with the flags for the terminal.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Flags {
    /// Run detached: print the container ID as soon as the program runs
    #[arg(short, long)]
    pub detach: bool,

    /// The flags for the terminal.
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

impl Execute for Run {
    fn execute(self, context: &Context) -> Result<Exit> {
        self.flags.check()?;
        let container = self.run.container(context)?;
        self.flags.start(self.flags.parts(container, Log::default()))
    }
}

impl Flags {
    /// Check that the flags can be combined.
    ///
    /// # Errors
    /// `-d` is combined with `-t` or `-i`; the exit status is 2.
    pub fn check(&self) -> Result<()> {
        if self.detach && (self.terminal.tty || self.terminal.interactive) {
            let text = "-d cannot be combined with -t or -i: use either -d or -ti";
            return Err(Failure { code: 2, text: text.to_owned() }.into());
        }
        Ok(())
    }

    // ANCHOR: run
    /// Add the parts for output and terminal, which write to this log.
    #[must_use]
    pub fn parts(&self, container: Container, log: Log) -> Container {
        let copy = log.clone();
        // A detached container does not use the user's terminal.
        let none = ch03_run::Flags::default();
        let flags = if self.detach { &none } else { &self.terminal };
        let terminal = Terminal::new(flags)
            .copied_to(move |bytes| copy.write(Stream::Out, bytes));
        container.part(Logged::new(log, self.detach)).part(terminal)
    }

    /// Run a container that has all its parts, in the foreground until its end, or
    /// detached.
    ///
    /// # Errors
    /// The errors of [`Container::run`] and [`Container::detach`]; the container ID
    /// cannot be printed.
    pub fn start(&self, container: Container) -> Result<Exit> {
        if !self.detach {
            return container.run();
        }
        let id = container.detach()?;
        output::print(&format!("{id}\n")).with_context(|| {
            format!("print the ID of container {id}, which is running")
        })?;
        Ok(Exit::Code(0))
    }
    // ANCHOR_END: run
}
