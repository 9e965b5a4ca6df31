//! Detached containers: the time of a start, of exec, of a list and of the end, and
//! the cost of idle containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::PATH;
use common::images::Image;
use common::state::State;
use common::state::remove_tree;
use common::step::Step;
use provision::{busybox, command};
use serde_json::Value;

use super::others::{self, Other};
use super::{Aim, BenchDirs, Line, Measure, crowd, in_turn, time};
use crate::bench::measure::IDLE;
use crate::bench::peers::Work;
use crate::bench::private_mounts::PrivateMounts;
use xtask::command::must;
use xtask::install::on_path;

/// The targets: ratios to the times of other programs, and ms.
const START: f64 = 0.5;
const EXEC: f64 = 1.25;
const LIST: f64 = 0.5;
const LIST_500: f64 = 7.0;
const LIST_1000: f64 = 50.0;
const STOP: f64 = 10.0;

/// The number of containers that run at once.
pub(super) const MANY: usize = 500;

/// The number of rounds of fast commands.
const ROUNDS: u32 = 30;

/// A time limit that nothing here reaches.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) const SLEEP: [&str; 2] = ["sleep", "1000"];

/// A program that ends at once on SIGTERM, and prints a line when it is ready for
/// it.
const ENDS_ON_SIGTERM: [&str; 3] =
    ["sh", "-c", "trap 'exit 0' TERM; echo ready; sleep 1000 & wait"];

/// Run all measurements with this program below this directory. `line` is the
/// straight-line program.
pub(super) fn all(
    program: &Path,
    line: &Path,
    parent: &Path,
    runs: u32,
) -> Result<Vec<Line>> {
    // Remove what a killed benchmark has left.
    sweep(program, &parent.join("life/state"));
    let mut place = BenchDirs::new(program, parent, runs)?;
    // A copy, as after an installation: a file that the linker wrote is in small
    // pieces in the page cache, so that each start has more page faults.
    place.program = place.path("ch05-env");
    fs::copy(program, &place.program).context("copy the program")?;
    let bench = Bench::new(&place)?;
    let work = Work {
        root: bench.root(parent)?,
        volume: place.path("volume"),
        run: parent.join("others"),
    };
    fs::create_dir_all(&work.volume)
        .step(|| format!("mkdir(2) {}", work.volume.display()))?;
    // After the other programs, whose clean-up uses it.
    let _gone = RemovedOnDrop(&work.run);
    let apart = PrivateMounts::without_v2()?;
    let others = others::all(&work, &SLEEP, apart.as_ref())?;
    let mut lines = bench.starts(&others)?;
    lines.extend(bench.exec()?);
    lines.extend(bench.stop()?);
    lines.extend(bench.lists(&others)?);
    drop(others);
    lines.extend(crowd::lines(
        &place.program,
        line,
        &place.path("crowd"),
        &bench.flags,
        &place.path("volume"),
        bench.rounds,
    )?);
    lines.extend(bench.idle()?);
    let left = bench.ids(&["-a"])?;
    ensure!(left.is_empty(), "{} containers are left", left.len());
    Ok(lines)
}

/// A directory that is removed when this is dropped.
struct RemovedOnDrop<'a>(&'a Path);

impl Drop for RemovedOnDrop<'_> {
    fn drop(&mut self) {
        // If this fails, the next benchmark removes it.
        let _ = remove_tree(self.0);
    }
}

/// Stop and remove all containers of a state directory.
fn sweep(program: &Path, state: &Path) {
    if !state.join("containers").exists() {
        return;
    }
    let ours = |words: &[&str]| {
        let mut command = Command::new(program);
        command::run(command.args(words).env("MYDOCKER_ROOT", state), TIMEOUT)
    };
    let Ok(said) = ours(&["ps", "-aq"]) else { return };
    let text = String::from_utf8_lossy(&said.out).into_owned();
    let ids: Vec<&str> = text.split_whitespace().collect();
    for ids in ids.chunks(100) {
        // If this fails, the next benchmark removes them.
        let _ = ours(&[&["rm", "-f"], ids].concat());
    }
    // This removes containers without a record.
    let _ = ours(&["prune"]);
}

pub(super) struct Bench<'a> {
    pub(super) place: &'a BenchDirs,
    /// The limits and the volume of `bench start`.
    flags: Vec<String>,
    pub(super) rounds: u32,
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        sweep(&self.place.program, &self.place.state);
    }
}

impl<'a> Bench<'a> {
    fn new(place: &'a BenchDirs) -> Result<Bench<'a>> {
        let volume = format!("{}:/v", place.path("volume").display());
        let flags =
            ["-m", "100m", "-cpushare", "512", "-cpuset", "0", "-v", &volume];
        let flags = flags.map(str::to_owned).to_vec();
        Ok(Bench { place, flags, rounds: place.runs.max(ROUNDS) })
    }

    /// A copy of busybox's files for the other programs.
    fn root(&self, parent: &Path) -> Result<PathBuf> {
        let state = State::at(parent.join("peers"));
        let image: Image = busybox::image(&state)?;
        image.directories(&state).into_iter().next().context("no layer")
    }

    /// `run -d` of this program, with or without limits and volume.
    pub(super) fn run(
        &self,
        name: &str,
        limited: bool,
        program: &[&str],
    ) -> Command {
        let mut run = self.place.ours(&["run", "-d", "--name", name]);
        run.args(self.flags.iter().filter(|_| limited)).arg("busybox").args(program);
        run.stdin(Stdio::null());
        run
    }

    /// The output of a command.
    fn output(&self, words: &[&str]) -> Result<String> {
        let said = command::run(&mut self.place.ours(words), TIMEOUT)?;
        Ok(String::from_utf8_lossy(&said.out).into_owned())
    }

    pub(super) fn ids(&self, flags: &[&str]) -> Result<Vec<String>> {
        let text = self.output(&[&["ps", "-q"], flags].concat())?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    pub(super) fn remove(&self, names: &[String]) -> Result<()> {
        for names in names.chunks(100) {
            must(self.place.ours(&["rm", "-f"]).args(names))?;
        }
        Ok(())
    }

    /// The time until `run -d` returns, cold and hot.
    fn starts(&self, others: &[Other]) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for (group, hot) in [
            ("run -d with limits and a volume, cold", false),
            ("run -d with limits and a volume, hot", true),
        ] {
            let ours: Measure = Box::new(move || {
                sleep(IDLE);
                if hot {
                    must(&mut self.run("before", true, &SLEEP))?;
                    self.remove(&["before".to_owned()])?;
                }
                let took = time(&mut self.run("one", true, &SLEEP))?;
                self.remove(&["one".to_owned()])?;
                Ok(took)
            });
            let mut contestants = vec![("run -d".to_owned(), Aim::None, ours)];
            for other in others {
                let theirs: Measure = Box::new(move || {
                    other.within(|| {
                        sleep(IDLE);
                        if hot {
                            other.start("before")?;
                            other.remove("before")?;
                        }
                        let took = time(&mut other.starting("one"))?;
                        other.remove("one")?;
                        Ok(took)
                    })
                });
                let aim = match other.name {
                    "crun" => Aim::Ratio(START),
                    _ => Aim::None,
                };
                contestants.push((format!("{} run -d", other.name), aim, theirs));
            }
            lines.extend(in_turn(self.rounds, group, contestants)?);
        }
        Ok(lines)
    }

    /// exec, compared with nsenter, which only joins the namespaces.
    fn exec(&self) -> Result<Vec<Line>> {
        must(&mut self.run("one", false, &SLEEP))?;
        let pid = self.pid("one")?;
        let ours: Measure =
            Box::new(|| time(&mut self.place.ours(&["exec", "one", "true"])));
        let mut contestants = vec![("exec".to_owned(), Aim::None, ours)];
        match on_path("nsenter") {
            None => println!("nsenter: not installed"),
            Some(nsenter) => {
                let flags = joined(&pid)?;
                let theirs: Measure = Box::new(move || {
                    let mut enter = Command::new(&nsenter);
                    enter.args(["--target", &pid]).args(&flags).arg("true");
                    time(enter.env_clear().env("PATH", PATH).stdout(Stdio::null()))
                });
                contestants.push(("nsenter".to_owned(), Aim::Ratio(EXEC), theirs));
            }
        }
        let lines = in_turn(self.rounds, "exec true", contestants)?;
        self.remove(&["one".to_owned()])?;
        Ok(lines)
    }

    /// The PID of a container's program.
    fn pid(&self, name: &str) -> Result<String> {
        let all: Vec<Value> =
            serde_json::from_str(&self.output(&["ps", "--json"])?)?;
        let one = all.iter().find(|one| one["name"] == name);
        let pid = one.and_then(|one| one["pid"].as_u64());
        Ok(pid
            .with_context(|| format!("the container {name} has no PID"))?
            .to_string())
    }

    /// stop of a program that ends on SIGTERM.
    fn stop(&self) -> Result<Vec<Line>> {
        let ours: Measure = Box::new(|| {
            must(&mut self.run("one", false, &ENDS_ON_SIGTERM))?;
            while !self.output(&["logs", "one"])?.contains("ready") {
                sleep(Duration::from_millis(1));
            }
            let took = time(&mut self.place.ours(&["stop", "one"]))?;
            self.remove(&["one".to_owned()])?;
            Ok(took)
        });
        let group = "stop of a program that ends at once";
        let contestants = vec![("stop".to_owned(), Aim::Below(STOP), ours)];
        in_turn(self.rounds, group, contestants)
    }

    /// The list of many ended containers.
    fn lists(&self, others: &[Other]) -> Result<Vec<Line>> {
        let crun = others.iter().find(|other| other.name == "crun");
        let mut lines = Vec::new();
        for (count, aim) in [(MANY, LIST_500), (2 * MANY, LIST_1000)] {
            for number in self.ids(&["-a"])?.len()..count {
                let name = format!("c{number}");
                must(
                    &mut self
                        .place
                        .ours(&["run", "--name", &name, "busybox", "true"]),
                )?;
            }
            let ours: Measure =
                Box::new(|| time(&mut self.place.ours(&["ps", "-a"])));
            let mut contestants = vec![("ps -a".to_owned(), Aim::Below(aim), ours)];
            let group = if count == MANY {
                if let Some(crun) = crun {
                    ended(crun, count)?;
                    let theirs: Measure = Box::new(move || {
                        crun.within(|| time(&mut crun.command(&["list"])))
                    });
                    contestants.push((
                        "crun list".to_owned(),
                        Aim::Ratio(LIST),
                        theirs,
                    ));
                }
                "500 that have ended, listed"
            } else {
                "1,000 that have ended, listed"
            };
            lines.extend(in_turn(self.rounds, group, contestants)?);
        }
        let begun = Instant::now();
        self.remove(&self.ids(&["-a"])?)?;
        lines.push(Line {
            group: "1,000 that have ended, removed",
            name: "rm, each".to_owned(),
            values: vec![begun.elapsed().as_secs_f64() * 1e3 / (2.0 * MANY as f64)],
            aim: Aim::None,
            unit: None,
        });
        Ok(lines)
    }
}

/// nsenter's options for the namespaces of this process that differ from ours.
fn joined(pid: &str) -> Result<Vec<String>> {
    let kinds = ["mnt", "uts", "ipc", "net", "pid", "cgroup", "user", "time"];
    let link = |of: &str, kind: &str| fs::read_link(format!("/proc/{of}/ns/{kind}"));
    let mut flags = Vec::new();
    for kind in kinds {
        let (own, theirs) = (link("self", kind), link(pid, kind));
        if own.context("readlink(2)")? != theirs.context("readlink(2)")? {
            let name = if kind == "mnt" { "mount" } else { kind };
            flags.push(format!("--{name}"));
        }
    }
    ensure!(!flags.is_empty(), "process {pid} has no namespaces of its own");
    Ok(flags)
}

/// Create ended containers of crun, `count` in total.
fn ended(crun: &Other, count: usize) -> Result<()> {
    crun.within(|| {
        for number in 0..count {
            let name = format!("c{number}");
            crun.start(&name)?;
            command::run(&mut crun.command(&["kill", &name, "KILL"]), TIMEOUT)?;
        }
        Ok(())
    })?;
    let there = crun.names()?.len();
    if there != count {
        bail!("crun has {there} of {count} containers");
    }
    Ok(())
}
