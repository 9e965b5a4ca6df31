//! The program that `cargo xtask power` runs in its VMs. First it does the work, on a disk
//! whose writes are recorded. Then it checks the disk in the state of a power failure, at
//! many moments.
#![allow(clippy::print_stdout, reason = "the host shows it")]
#![allow(clippy::unwrap_used, reason = "a panic is a failure")]

mod check;
mod disk;
mod journal;
mod plan;
mod work;

use std::path::Path;
use std::process::{Command, ExitCode};

use vm_init::place;

/// The mount point of the disk, and the state directory on it.
const PLACE: &str = "/run/power";
const STATE: &str = "/run/power/state";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["work", _] => work::work(number(1)),
        ["check", _, _, _] => {
            return check::check(number(1), number(2), number(3));
        }
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

/// Run the chapter. Returns its output, or the error.
fn chapter(words: &[&str]) -> Result<String, String> {
    let name = if words[0] == "pull" { "ch07-pull" } else { "ch04-save" };
    let mut command = Command::new(Path::new(place::CHAPTERS).join(name));
    let ended = command.args(words).env("MYDOCKER_ROOT", STATE).output().unwrap();
    match ended.status.success() {
        true => Ok(String::from_utf8_lossy(&ended.stdout).into_owned()),
        false => {
            let error = String::from_utf8_lossy(&ended.stderr);
            Err(format!("{}: {}: {}", words.join(" "), ended.status, error.trim()))
        }
    }
}
