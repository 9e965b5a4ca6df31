//! The command `exec`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Error, Result, anyhow};
use ch03_run::Terminal;
use clap::Args;
use common::cli::{self, Context, Execute};
use common::exit::{RUNTIME_ERROR, code_of};
use common::state::{Record, State, Status};
use common::{Container, Exit, SafeBinary};

use crate::alone::Alone;
use crate::groups::Groups;
use crate::{Inside, Variables};

/// Run another program in a running container
#[derive(Args, Debug)]
#[group(skip)]
pub struct Exec {
    #[command(flatten)]
    terminal: ch03_run::Flags,

    /// Run detached: return as soon as the program runs; its streams are /dev/null
    #[arg(short, long, conflicts_with_all = ["tty", "interactive"])]
    detach: bool,

    #[command(flatten)]
    variables: Variables,

    /// Working directory [default: the container's]
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    directory: Option<PathBuf>,

    #[command(flatten)]
    trace: cli::Trace,

    /// Name, ID, or unique ID prefix of the container
    container: String,

    /// Program and its arguments, passed unchanged
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Execute for Exec {
    fn execute(self, context: &Context) -> Result<Exit> {
        // This comes first, because it executes the program again: earlier
        // statements would run twice.
        let binary = SafeBinary::exec_self()?;
        let record = self.record(&context.state)?;
        self.execute_in(&context.state, record, binary, |container| container)
    }
}

impl Exec {
    /// Find the record of the container.
    ///
    /// # Errors
    /// No container matches, or more than one does.
    pub fn record(&self, state: &State) -> Result<Record> {
        Record::find(state, &self.container)
    }

    // ANCHOR: execute
    /// Run the program in the container of this record, and wait for its end (with
    /// `-d`, for its start). `parts` adds more parts. The joining process is visible
    /// in the container, so it runs from a [`SafeBinary`].
    ///
    /// # Errors
    /// The container is not running, or ends in the meantime; the program is not
    /// found (exit status 127) or cannot be executed (126).
    pub fn execute_in(
        self,
        state: &State,
        record: Record,
        binary: SafeBinary,
        parts: impl FnOnce(Container) -> Container,
    ) -> Result<Exit> {
        let home = record.home(state);
        let process = home.program()?;
        let process = Rc::new(process.ok_or_else(|| not_running(state, &record))?);
        let mut environment = record.environment.clone();
        self.variables.put(&mut environment);
        let groups = Groups::thawed(&home, &record, &process)?;
        let inside = Inside::new(
            record.clone(),
            process.clone(),
            environment,
            self.directory,
            binary,
            groups,
        );
        let run = cli::Run { trace: self.trace, command: self.command };
        let container = Container::new(run.plan()?).part(inside);
        let container = if self.detach {
            container.part(Alone::default())
        } else {
            container.part(Terminal::new(&self.terminal))
        };
        let started = parts(container).create().and_then(|created| created.start());
        let started = started.map_err(|error| {
            // If the container has ended in the meantime, this is the cause of any
            // other error. Both checks are needed: a killed init process ends before
            // the program, and the kernel may kill the joined processes before it.
            let runs = || matches!(Status::by_lock(&home), Ok(Status::Running(_)));
            let ended =
                code_of(&error) == RUNTIME_ERROR && (process.has_ended() || !runs());
            if ended { not_running(state, &record) } else { error }
        })?;
        if self.detach {
            return started.disown().map(|()| Exit::Code(0));
        }
        started.wait()
    }
    // ANCHOR_END: execute
}

/// The error for a container that cannot be joined now.
#[must_use]
pub fn not_running(state: &State, record: &Record) -> Error {
    let why = match Status::of(&record.home(state)) {
        // Check the record last: a removal deletes the record first, then the
        // information about the end.
        Ok(status) if status.is_none() || !record.exists(state) => {
            "it was removed".to_owned()
        }
        Ok(Some(Status::Dead)) => "its supervisor was killed".to_owned(),
        Ok(Some(Status::Exited(end))) => {
            format!("its program has ended with {}", end.how.code())
        }
        Ok(_) => "it is starting or ending".to_owned(),
        Err(error) => return error,
    };
    anyhow!("container {} is not running: {why}", record.display_name())
}
