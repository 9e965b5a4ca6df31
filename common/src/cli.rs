//! The outermost layer of every chapter's binary: from the options to the exit
//! status.

mod argument;
pub mod flags;
mod generate;
pub mod hints;
mod names;
pub mod output;
pub mod plain;
pub mod slow;
pub mod step;
pub mod table;

use std::borrow::Cow;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::error::{ContextKind, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches};
use nix::sys::signal::Signal;

use crate::cli::plain::plain;
use crate::cli::step::Step;
use crate::engine::plan::Plan;
use crate::process::exit::{Exit, code_of};
use crate::process::sys::ignore_signal;
use crate::state::{State, Table};

/// The option of every command that creates a process.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(skip)]
pub struct Trace {
    /// Trace each step on stderr: process, hook, part, system call
    ///
    /// MYDOCKER_TRACE=1 does the same.
    #[arg(long)]
    trace: bool,
}

impl Trace {
    /// Start tracing if the option was given.
    pub fn begin(self) {
        if self.trace {
            step::start_trace();
        }
    }
}

/// The last arguments of every chapter's `run`.
#[derive(Args, Debug)]
#[group(skip)]
pub struct Run {
    /// The option `--trace`.
    #[command(flatten)]
    pub trace: Trace,

    /// The program and its arguments, passed on unchanged [default: sh]
    ///
    /// Options end at the first argument that is not an option; the remaining
    /// arguments are the command.
    #[arg(trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

impl Run {
    /// The container that these options describe, without parts. Starts tracing for
    /// `--trace`.
    ///
    /// # Errors
    /// The path of the state directory, a random number or the working directory
    /// cannot be determined.
    pub fn plan(self) -> Result<Plan> {
        self.trace.begin();
        Plan::new(self.command)
    }
}

/// The end of a chapter's `--help`: the chapter's own examples, then the exit
/// statuses, which are the same for all chapters.
#[macro_export]
macro_rules! after_help {
    ($lines:literal) => {
        concat!(
            $lines,
            "
Exit status:
  the program's own; 128 + n if signal n killed it
  125  the container could not be created; the error names the step
  126  the program cannot be executed
  127  the program was not found
  2    the command line is invalid"
        )
    };
}

/// The arguments that every command gets besides its own options.
#[derive(Clone, Debug)]
pub struct Context {
    /// The state directory.
    pub state: State,
    /// The undo table of the binary.
    pub undo: Table,
}

impl Context {
    /// The state directory of the caller, and this undo table.
    ///
    /// # Errors
    /// The path of the state directory cannot be determined.
    pub fn locate(undo: Table) -> Result<Context> {
        Ok(Context { state: State::locate()?, undo })
    }
}

/// A command of a binary.
pub trait Execute {
    /// Execute the command.
    ///
    /// # Errors
    /// The command fails.
    fn execute(self, context: &Context) -> Result<Exit>;
}

impl<C: Execute> Execute for Box<C> {
    fn execute(self, context: &Context) -> Result<Exit> {
        (*self).execute(context)
    }
}

/// Define an enum of commands, each of which is executed by its own [`Execute`].
#[macro_export]
macro_rules! commands {
    (
        $(#[$attribute:meta])*
        $visible:vis enum $name:ident {
            $($(#[$on_variant:meta])* $variant:ident($command:ty)),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(clap::Subcommand)]
        $visible enum $name {
            $($(#[$on_variant])* $variant($command)),*
        }

        impl $crate::cli::Execute for $name {
            fn execute(
                self,
                context: &$crate::cli::Context,
            ) -> anyhow::Result<$crate::Exit> {
                match self {
                    $($name::$variant(command) => {
                        $crate::cli::Execute::execute(command, context)
                    })*
                }
            }
        }
    };
}

/// Call `action` for each word, even after an error. The errors are joined.
///
/// # Errors
/// `action` fails for at least one word.
pub fn each(words: &[String], action: impl Fn(&str) -> Result<()>) -> Result<()> {
    step::join_errors(words.iter().map(|word| action(word)))
}

/// Read the command line, run the command, and report the error. Nothing else prints
/// errors.
pub fn main<C>(run: impl FnOnce(C) -> Result<Exit>) -> ExitCode
where
    C: CommandFactory + FromArgMatches,
{
    main_with(Ok, run)
}

/// Like [`main`], but `change` first changes the description of the command line,
/// for example default values or names of commands.
pub fn main_with<C>(
    change: impl FnOnce(clap::Command) -> Result<clap::Command>,
    run: impl FnOnce(C) -> Result<Exit>,
) -> ExitCode
where
    C: CommandFactory + FromArgMatches,
{
    // A file that exceeds the caller's limit (`ulimit -f`) must be an error of write(2). The
    // signal would kill the supervisor, and the end of the container would not be recorded.
    // The call fails for an invalid signal only.
    let _ = ignore_signal(Signal::SIGXFSZ);
    let mut command = match change(C::command()) {
        Ok(command) => command,
        Err(error) => return failed(&error),
    };
    // `run --help` must end as `--help` does.
    if let Some(lines) = command.get_after_help().cloned() {
        command = command.mut_subcommands(|inner| inner.after_help(lines.clone()));
    }
    let done = names::run_if_requested(&command)
        .or_else(|| generate::run_if_requested(&command));
    if let Some(done) = done {
        return done;
    }
    // Do not call build(): clap then builds only the parts that the command line
    // uses.
    let argv = flags::go_style(&command, env::args_os());
    let parsed = command.try_get_matches_from_mut(argv);
    let parsed = parsed.and_then(|found| C::from_arg_matches(&found));
    drop(command);
    let cli = match parsed {
        Ok(cli) => cli,
        Err(mut error) => {
            return usage(&mut error);
        }
    };
    if env::var_os("MYDOCKER_TRACE").is_some_and(|value| value == "1") {
        step::start_trace();
    }
    match run(cli) {
        Ok(how) => ExitCode::from(how.code()),
        Err(error) => failed(&error),
    }
}

/// Print the help on stdout, or what is wrong with the command line on stderr.
fn usage(error: &mut clap::Error) -> ExitCode {
    // It says `-- -1` of a value that is refused, which is another argument then.
    error.remove(ContextKind::Suggested);
    let shown = error.render().to_string();
    // An argument of the caller must not control the terminal.
    let printed = match plain(&shown) {
        Cow::Borrowed(_) => error.print(),
        Cow::Owned(escaped) => io::stderr().write_all(escaped.as_bytes()),
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match printed {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let lost = Err::<(), _>(error).untraced(|| "write(2) to stdout");
                lost.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
            }
            _ => ExitCode::SUCCESS,
        },
        _ => ExitCode::from(2),
    }
}

fn failed(error: &Error) -> ExitCode {
    step::print_line(&format!("error: {}", step::report(error)));
    ExitCode::from(code_of(error))
}
