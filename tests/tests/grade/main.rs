//! The checks of `cargo xtask grade` and `cargo xtask exercise`: what a container does, as
//! seen from inside and outside. They do not compare the texts of our own programs. PID 1
//! of the VM runs one check at a time, as it runs tests.
#![allow(clippy::print_stdout, reason = "the host reads it")]
#![allow(clippy::unwrap_used, reason = "a panic is an answer too")]

mod capabilities;
mod ended;
mod exercises;
mod lessons;
mod outcome;
mod process;
mod room;
mod running;
mod subject;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use outcome::{Outcome, Trouble};
use room::Room;
use vm_init::grade::{ANSWER, Check};

/// One check: the capability or exercise, a sentence, the function, and, for an exercise,
/// a part of the result for the unchanged checkout.
type Entry = (&'static str, &'static str, fn(&mut Room) -> Outcome, &'static str);

fn all() -> impl Iterator<Item = &'static Entry> {
    capabilities::all().chain(lessons::all()).chain(exercises::all())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--list"] => {
            for (group, name, _, before) in all() {
                let [group, name, before] =
                    [group, name, before].map(|w| (*w).into());
                let check = Check { group, name, before };
                println!("{}", serde_json::to_string(&check).unwrap());
            }
            ExitCode::SUCCESS
        }
        // The option of libtest.
        ["--exact", name, ..] => {
            let Some((group, _, run, _)) = all().find(|(group, it, ..)| {
                name.split_once("::") == Some((*group, *it))
            }) else {
                eprintln!("there is no check {name}");
                return ExitCode::from(2);
            };
            let answer = answer(group, *run);
            println!("\n{ANSWER}{}", serde_json::to_string(&answer).unwrap());
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}

/// Run a check in its own room, and report what it leaves behind.
fn answer(group: &str, run: fn(&mut Room) -> Outcome) -> vm_init::grade::Answer {
    let mut room = Room::open(group);
    let ended = catch_unwind(AssertUnwindSafe(|| run(&mut room)));
    let outcome = ended.unwrap_or_else(|panic| {
        // For example, a terminal that does not show the expected text.
        let text = panic.downcast_ref::<String>().cloned();
        let text =
            text.or(panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(Trouble::fail("the check to finish", text.unwrap_or_default()))
    });
    room.close(outcome)
}
