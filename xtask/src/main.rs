//! The project's tasks: `cargo xtask`.
#![allow(clippy::print_stdout, reason = "results go to standard output")]

mod bench;
mod book;
mod bound;
mod build;
mod checkout;
mod command;
mod doctor;
mod exercise;
mod faults;
mod fetch;
mod generate;
mod grade;
mod install;
mod lane;
mod minimum;
mod mutants;
mod mutex;
mod part;
mod power;
mod registry_tools;
mod session;
mod set;
mod software;
mod test;
mod tidy;
mod vm;

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
    Doctor(doctor::Args),
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
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let [verb, parent, program, arguments @ ..] = words.as_slice()
        && verb == bound::VERB
    {
        let error = bound::become_program(parent, program, arguments);
        eprintln!("error: {}", common::step::report(&error));
        return ExitCode::FAILURE;
    }
    if let [verb, rest @ ..] = words.as_slice()
        && verb == ::doctor::VERB
    {
        return ::doctor::attempt(rest);
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
        Task::Doctor(args) => match doctor::run(&args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Task::Book(args) => book::run(&args),
        Task::Completions(args) => generate::completions(&args),
        Task::Man(args) => generate::man(&args),
        Task::Grade(args) => grade::run(&args),
        Task::Exercise(args) => exercise::run(&args),
        Task::Tidy(args) => tidy::run(&args),
        Task::Mutants(args) => mutants::run(&args),
        Task::Lane(args) => lane::run(&args),
        Task::Faults(args) => faults::run(&args),
        Task::Power(args) => power::run(&args),
        Task::Bench(args) => bench::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", common::step::report(&error));
            ExitCode::FAILURE
        }
    }
}
