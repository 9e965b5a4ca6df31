//! The project's tasks: `cargo xtask`.
//!
//! This crate does not depend on the chapters: after a change of a chapter, `cargo xtask`
//! starts without a build. The tasks that use the chapters' code are in the package
//! chapter-tasks, which this program builds and starts.
#![allow(clippy::print_stdout, reason = "results go to standard output")]

pub mod book;
pub mod bound;
pub mod build;
pub mod checkout;
pub mod command;
pub mod date;
pub mod exercise;
mod faults;
mod fetch;
mod generate;
mod grade;
pub mod install;
mod lane;
pub mod learn;
mod minimum;
pub mod mutants;
mod mutex;
mod part;
mod power;
pub mod progress;
pub mod registry_tools;
mod session;
pub mod set;
mod software;
mod test;
mod tidy;
pub mod vm;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetch busybox, the image that the chapters use
    Fetch(fetch::Args),
    /// Run the black-box tests of all chapters
    Test(test::Args),
    /// Open a root shell in the VM, with all chapters in PATH
    Shell(session::ShellArgs),
    /// Run a chapter in the VM: no root and no recent kernel is required
    Run(session::RunArgs),
    /// Check what this machine can run, and how to fix the rest. Exit status: 0 if
    /// it can run containers and the tests in a VM, 3 if no containers, 4 if no
    /// tests, 5 if neither
    #[command(disable_help_flag = true)]
    Doctor(Words),
    /// Build the book
    Book(book::Args),
    /// Generate shell completions for the chapters: bash, zsh and fish
    Completions(generate::Completions),
    /// Generate manual pages, one for each chapter and each of its commands
    Man(generate::Man),
    /// Grade a program in any language by what its containers do
    Grade(grade::Args),
    /// Check whether an exercise of the book is solved
    Exercise(exercise::Args),
    /// Begin to write a chapter: a workspace with empty functions, in the directory
    /// mine
    Start(learn::StartArgs),
    /// Check the functions that you wrote, task by task
    Try(learn::TryArgs),
    /// Run `try`, and again after each change of a file
    Watch(learn::TryArgs),
    /// Print what the next task is, and a hint
    Hint(learn::TaskArgs),
    /// Print the book's solution of a task; --take writes it into your file
    Show(learn::ShowArgs),
    /// Print your code of a task beside the book's, as a diff
    Compare(learn::TaskArgs),
    /// List the chapters and their tasks: which are written
    Progress,
    /// Check what the compiler does not: excerpts, imports, links, names, sizes
    Tidy(tidy::Args),
    /// Break each chapter on purpose, and check that its tests detect it
    Mutants(mutants::Args),
    /// Run one kind of tests that cargo runs, and count them
    Lane(lane::Args),
    /// Let each system call of a run fail, kill the run at each, and check the
    /// clean-up
    Faults(faults::Args),
    /// Simulate power failures at many moments, and check that images stay complete
    Power(power::Args),
    /// Run the benchmarks
    #[command(disable_help_flag = true)]
    Bench(Words),
}

/// The arguments for another program.
#[derive(clap::Args)]
struct Words {
    /// The arguments of the task; --help lists them
    #[arg(
        value_name = "ARGUMENT",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

/// Execute the task that the command line names.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = bound::main() {
        return code;
    }
    let done = match Cli::parse().task {
        Task::Fetch(args) => fetch::run(&args),
        Task::Test(args) => test::run(args),
        // The exit status of a session is the program's.
        Task::Shell(args) => match session::shell(args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Task::Run(args) => match session::run(args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Task::Doctor(args) => match command::chapter_tasks("doctor", &args.words) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Task::Book(args) => book::run(&args),
        Task::Completions(args) => generate::completions(&args),
        Task::Man(args) => generate::man(&args),
        Task::Grade(args) => grade::run(&args),
        Task::Exercise(args) => exercise::run(&args),
        Task::Start(args) => learn::start::start(&args),
        Task::Try(args) => learn::attempt(&args),
        Task::Watch(args) => learn::watch::watch(&args).map(drop),
        Task::Hint(args) => learn::hint(&args),
        Task::Show(args) => learn::show(&args),
        Task::Compare(args) => learn::compare(&args),
        Task::Progress => learn::progress::progress(),
        Task::Tidy(args) => tidy::run(&args),
        Task::Mutants(args) => mutants::run(&args),
        Task::Lane(args) => lane::run(&args),
        Task::Faults(args) => faults::run(&args),
        Task::Power(args) => power::run(&args),
        Task::Bench(args) => match command::chapter_tasks("bench", &args.words) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", common::step::report(&error));
            ExitCode::FAILURE
        }
    }
}
