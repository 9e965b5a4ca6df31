//! The tasks that use the code of the chapters: `cargo xtask bench` and `cargo xtask
//! doctor`. They are a program of their own, so that `cargo xtask` does not wait for a
//! build after each change of a chapter.
#![allow(clippy::print_stdout, reason = "results go to standard output")]

mod bench;
mod doctor;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's tasks that use the code of the chapters.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check what this machine can run, and how to fix the rest. Exit status: 0 if
    /// it can run containers and the tests in a VM, 3 if no containers, 4 if no
    /// tests, 5 if neither
    Doctor(doctor::Args),
    /// Run the benchmarks
    Bench(bench::Args),
}

fn main() -> ExitCode {
    if let Some(code) = xtask::bound::main() {
        return code;
    }
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [verb, rest @ ..] = words.as_slice()
        && verb == ::doctor::VERB
    {
        return ::doctor::attempt(rest);
    }
    let done = match Cli::parse().task {
        Task::Doctor(args) => doctor::run(&args),
        Task::Bench(args) => bench::run(args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {}", common::step::report(&error));
        ExitCode::FAILURE
    })
}
