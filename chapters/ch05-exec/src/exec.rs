//! The command.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Error, Result, anyhow};
use ch03_run::Terminal;
use clap::Args;
use common::cli::{self, Act, Context};
use common::exit::{OURS, code_of};
use common::state::{Record, State, Status};
use common::{Container, Exit, SafeBinary};

use crate::alone::Alone;
use crate::groups::Groups;
use crate::{Inside, Variables};

/// Run another program in a container that runs
#[derive(Args, Debug)]
#[group(skip)]
pub struct Exec {
    #[command(flatten)]
    terminal: ch03_run::Flags,

    /// Return when the program has started; its streams are /dev/null
    #[arg(short, long, conflicts_with_all = ["tty", "interactive"])]
    detach: bool,

    #[command(flatten)]
    variables: Variables,

    /// The working directory [default: the container's]
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    directory: Option<PathBuf>,

    #[command(flatten)]
    trace: cli::Trace,

    /// Its name, its id, or what only its id begins with
    container: String,

    /// The program and its arguments, passed on unchanged
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Act for Exec {
    fn act(self, context: &Context) -> Result<Exit> {
        // First of all: everything before it happens twice.
        let binary = SafeBinary::exec_self()?;
        let record = self.record(&context.state)?;
        self.act_in(&context.state, record, binary, |container| container)
    }
}

impl Exec {
    /// The container.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn record(&self, state: &State) -> Result<Record> {
        Record::find(state, &self.container)
    }

    // ANCHOR: act
    /// Run the program in the container of this record, with more parts, and wait for
    /// its end; with `-d`, for its start. The process that joins is visible in the
    /// container, so it runs from a [`SafeBinary`].
    ///
    /// # Errors
    /// The container does not run, or ends meanwhile; the program is not there (127) or
    /// cannot be executed (126).
    pub fn act_in(
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
            // Whatever failed then, this is why. An init that was killed ends before the
            // program does, and all who joined may be killed before it.
            let runs = || matches!(Status::by_lock(&home), Ok(Status::Running(_)));
            let ended = code_of(&error) == OURS && (process.has_ended() || !runs());
            if ended { not_running(state, &record) } else { error }
        })?;
        if self.detach {
            return started.leave().map(|()| Exit::Code(0));
        }
        started.wait()
    }
    // ANCHOR_END: act
}

/// Why nobody can join this container now.
#[must_use]
pub fn not_running(state: &State, record: &Record) -> Error {
    let why = match Status::of(&record.home(state)) {
        // Looked at last: a removal takes the record first, then what tells of the end.
        Ok(status) if status.is_none() || !record.exists(state) => {
            "it was removed".to_owned()
        }
        Ok(Some(Status::Dead)) => "its host side was killed".to_owned(),
        Ok(Some(Status::Exited(end))) => {
            format!("its program has ended with {}", end.how.code())
        }
        Ok(_) => "it is just starting, or ending".to_owned(),
        Err(error) => return error,
    };
    anyhow!("container {} is not running: {why}", record.called())
}
