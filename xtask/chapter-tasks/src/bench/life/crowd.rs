//! A start beside thousands of running containers. The containers are simulated:
//! this process locks their lock files, because a start reads no other file of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use common::state::State;
use common::step::Step;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use provision::busybox;

use super::{Aim, Line, Measure, in_turn, time};
use crate::bench::calls::{calls, strace_is_there};
use xtask::command::must;

/// The number of containers.
const MANY: usize = 5000;

/// The maximum number of additional system calls of a start beside them.
const MORE_CALLS: f64 = 20.0;

const GROUP: &str = "a start beside 5,000 running containers";

/// The lock files of running containers. They are removed when this is dropped.
struct Crowd {
    files: Vec<(PathBuf, File)>,
}

impl Crowd {
    fn new(state: &State) -> Result<Crowd> {
        allow_files(MANY + 1000)?;
        let directory = state.running();
        fs::create_dir_all(&directory)
            .step(|| format!("mkdir(2) {}", directory.display()))?;
        let mut crowd = Crowd { files: Vec::new() };
        for number in 0..MANY {
            // An ID has twelve hexadecimal digits.
            let path = directory.join(format!("{number:012x}"));
            let file = File::create(&path)
                .step(|| format!("open(2) {}", path.display()))?;
            let locked = file.try_lock();
            crowd.files.push((path, file));
            locked.ok().context("flock(2) of a new lock file")?;
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // Remove the files before the locks are released: an unlocked file would
        // mean an ended container.
        for (path, _) in &self.files {
            // If this fails, it is removed with the working directory.
            let _ = fs::remove_file(path);
        }
    }
}

/// Raise the limit of open files.
fn allow_files(wanted: usize) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).step(|| "getrlimit(2)")?;
    let wanted = wanted as u64;
    if soft >= wanted {
        return Ok(());
    }
    ensure!(hard >= wanted, "{wanted} open files are needed, {hard} are allowed");
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).step(|| "setrlimit(2)")
}

/// Compare two state directories. The first contains only busybox. The second also
/// contains many containers. Our program and the straight-line program take turns to
/// start a container in each directory.
pub(super) fn lines(
    program: &Path,
    line: &Path,
    directory: &Path,
    flags: &[String],
    volume: &Path,
    rounds: u32,
) -> Result<Vec<Line>> {
    let state = |name: &str| State::at(directory.join(name));
    let [alone, beside] = [state("alone"), state("beside")];
    let command = |program: &Path, state: &State| {
        let mut command = Command::new(program);
        command.env("MYDOCKER_ROOT", state.root());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let ours = |state: &State| {
        let mut run = command(program, state);
        run.args(["run", "--rm"]).args(flags).args(["busybox", "true"]);
        run
    };
    let theirs = |state: &State| {
        let mut run = command(line, state);
        run.arg(volume);
        run
    };
    for state in [&alone, &beside] {
        busybox::image(state)?;
        // The first run creates the directories that later runs find.
        must(&mut ours(state))?;
    }
    let _crowd = Crowd::new(&beside)?;
    let mut contestants: Vec<(String, Aim, Measure)> = Vec::new();
    for (name, state) in [("alone", &alone), ("beside them", &beside)] {
        let measure: Measure = Box::new(|| time(&mut ours(state)));
        contestants.push((format!("run, {name}"), Aim::None, measure));
    }
    for (name, state) in [("alone", &alone), ("beside them", &beside)] {
        let measure: Measure = Box::new(|| time(&mut theirs(state)));
        contestants.push((format!("straight line, {name}"), Aim::None, measure));
    }
    let mut lines = in_turn(rounds, GROUP, contestants)?;
    let slower = |beside: &Line, alone: &Line| -> Vec<f64> {
        let pairs = beside.values.iter().zip(&alone.values);
        pairs.map(|(beside, alone)| beside / alone).collect()
    };
    let times = |name: &str, values, aim| Line {
        group: "the same, as a factor and in system calls",
        name: name.to_owned(),
        values,
        aim,
        unit: Some("x"),
    };
    let more = vec![
        times("slowdown of run", slower(&lines[1], &lines[0]), Aim::None),
        times(
            "slowdown of the straight line",
            slower(&lines[3], &lines[2]),
            Aim::None,
        ),
    ];
    lines.extend(more);
    match strace_is_there() {
        false => {
            println!("strace: not installed, extra system calls are not counted")
        }
        true => {
            let count = |state: &State| -> Result<f64> {
                Ok(calls(&ours(state))?.values().sum::<usize>() as f64)
            };
            let extra = vec![count(&beside)? - count(&alone)?];
            let name = "system calls more of run";
            lines.push(times(name, extra, Aim::Below(MORE_CALLS)));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_keeps_its_locks_and_leaves_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let crowd = Crowd::new(&state).unwrap();
        let count = || fs::read_dir(state.running()).unwrap().count();
        assert_eq!(count(), MANY);
        let first = state.running().join("000000000000");
        assert!(File::open(first).unwrap().try_lock_shared().is_err());
        drop(crowd);
        assert_eq!(count(), 0);
    }
}
