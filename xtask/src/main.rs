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
    /// Get busybox, the image that the chapters start from
    Fetch(fetch::Args),
    /// Run the black-box tests of all chapters
    Test(test::Args),
    /// A root shell in the VM, with all chapters on PATH
    Shell(session::ShellArgs),
    /// Run a chapter in the VM: the main job without root, and without Linux's latest
    Run(session::RunArgs),
    /// What this machine can run, and how to mend what it can't. Exit code: 0 the main
    /// job and the tests in a VM, 3 not the main job, 4 not the tests, 5 neither
    Doctor(doctor::Args),
    /// Build the book
    Book(book::Args),
    /// Write completions of the chapters' command lines, for bash, zsh and fish
    Completions(generate::Completions),
    /// Write manual pages, one for each chapter and each of its commands
    Man(generate::Man),
    /// Grade a program, in any language, by what its containers do
    Grade(grade::Args),
    /// Tell whether an exercise of the book is solved
    Exercise(exercise::Args),
    /// Look for what no compiler finds: excerpts, edges, links, walls
    Tidy(tidy::Args),
    /// Break each chapter on purpose, and see that its tests notice
    Mutants(mutants::Args),
    /// Run the tests of one kind that cargo runs, and count them
    Lane(lane::Args),
    /// Let each system call of a run fail, and kill it at each; see that all is undone
    Faults(faults::Args),
    /// Let the power fail at many moments, and see that what was made is whole
    Power(power::Args),
    /// Measure
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
        // A session's exit code is the program's.
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
