//! The checks of `cargo xtask doctor` that concern the kernel, for a machine without
//! the checkout, such as the VM of the tests. `--json` prints the findings for
//! programs.
#![allow(clippy::print_stdout, reason = "the findings go to standard output")]

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use doctor::{Report, VERB, attempt, machine};

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    match words.split_first() {
        Some((verb, rest)) if verb == VERB => return attempt(rest),
        Some((option, [])) if option == "--json" => {}
        Some(_) => {
            eprintln!("error: invalid option: only --json is supported");
            return ExitCode::from(2);
        }
        None => {}
    }
    let report = Report::new(machine());
    if words.is_empty() {
        print!("{}", report.text());
    } else {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::from(report.exit_code())
}
