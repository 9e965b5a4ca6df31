//! `cargo xtask bench life`: the cost of images, and of a container's life.
//!
//! A group consists of contestants that take turns in each round, ours first. To add
//! a group, write a function that returns its [`Line`]s, and add it to the list in
//! [`life`].

mod containers;
mod crowd;
mod idle;
pub(super) mod images;
pub(super) mod others;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use common::state::State;
use common::state::remove_tree;
use common::step::Step;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use provision::busybox;

use super::measure::{median, ratio};
use super::record::{Figure, Record};
use xtask::build::build_release;
use xtask::checkout::target;
use xtask::command::must;

/// The part of the benchmark to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Theme {
    /// commit, import, export
    Images,
    /// run -d, exec, ps, stop
    Containers,
}

/// The directories of the benchmark.
pub(super) struct BenchDirs {
    pub(super) program: PathBuf,
    /// The working directory, removed at the end.
    directory: PathBuf,
    /// The state directory.
    state: PathBuf,
    runs: u32,
}

impl BenchDirs {
    /// Create the working directory below `parent`, with busybox.
    pub(super) fn new(
        program: &Path,
        parent: &Path,
        runs: u32,
    ) -> Result<BenchDirs> {
        let directory = parent.join("life");
        remove_tree(&directory)?;
        let state = directory.join("state");
        busybox::image(&State::at(&state))?;
        Ok(BenchDirs { program: program.to_owned(), directory, state, runs })
    }

    /// A command of the chapter's program with these arguments.
    pub(super) fn ours(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).env("MYDOCKER_ROOT", &self.state);
        // If a developer has set this variable, the creation of an error takes 2 ms
        // longer.
        command.env_remove("RUST_BACKTRACE");
        command.stdout(Stdio::null());
        command
    }

    /// The path of a file or directory in the working directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for BenchDirs {
    fn drop(&mut self) {
        // If this fails, the next benchmark removes it.
        let _ = remove_tree(&self.directory);
    }
}

/// A function that measures a contestant in one round; returns the time that counts,
/// in ms.
pub(super) type Measure<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// The target of a contestant.
#[derive(Clone, Copy)]
pub(super) enum Aim {
    /// The maximum of the contestant's own time.
    Below(f64),
    /// The maximum of our time divided by the contestant's time.
    Ratio(f64),
    /// The maximum of our time minus the contestant's time, in ms.
    More(f64),
    /// No target: the value is only printed.
    None,
}

/// The results of a contestant; the first one of a group is ours.
pub(super) struct Line {
    group: &'static str,
    name: String,
    values: Vec<f64>,
    aim: Aim,
    /// The unit; `None` means milliseconds.
    pub(super) unit: Option<&'static str>,
}

/// Measure all contestants in turn in each round; the first round is a warm-up.
pub(super) fn in_turn(
    runs: u32,
    group: &'static str,
    contestants: Vec<(String, Aim, Measure)>,
) -> Result<Vec<Line>> {
    let (mut lines, mut measures) = (Vec::new(), Vec::new());
    for (name, aim, measure) in contestants {
        lines.push(Line { group, name, values: Vec::new(), aim, unit: None });
        measures.push(measure);
    }
    for round in 0..=runs {
        for (line, measure) in lines.iter_mut().zip(&mut measures) {
            let value = measure().with_context(|| line.name.clone())?;
            if round > 0 {
                line.values.push(value);
            }
        }
    }
    Ok(lines)
}

fn ending() -> SigSet {
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect()
}

/// Block the signals that would kill this process without clean-up. [`go_on`]
/// checks for pending signals before each timed command. Commands do not inherit the
/// mask.
pub(super) fn block_signals() -> Result<()> {
    ending().thread_block().step(|| "pthread_sigmask(3)")
}

/// Check that no signal asks this process to end.
///
/// # Errors
/// A signal is pending.
pub(super) fn go_on() -> Result<()> {
    let waiting = SignalFd::with_flags(&ending(), SfdFlags::SFD_NONBLOCK);
    let come = waiting.and_then(|waiting| waiting.read_signal());
    match come.step(|| "signalfd(2)")? {
        Some(_) => {
            bail!("interrupted by a signal: everything that was started is removed")
        }
        None => Ok(()),
    }
}

/// The time that a command takes, in ms.
fn time(command: &mut Command) -> Result<f64> {
    go_on()?;
    let start = Instant::now();
    must(command)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Run the benchmark.
///
/// # Errors
/// The user is not root; a command fails; a tar has the wrong size; the number of
/// containers is wrong. A missed target is not an error.
pub(super) fn life(
    only: Option<Theme>,
    runs: u32,
    state: Option<PathBuf>,
) -> Result<Record> {
    if !common::rights::privileged() {
        bail!("files of root and cgroups require root: run it with sudo");
    }
    let release =
        build_release(&["--package", "ch04-tar", "--package", "ch05-env"])?;
    build_release(&["--package", "common", "--example", "straight_line"])?;
    block_signals()?;
    let parent = state.unwrap_or_else(|| target().join("bench"));
    let parent = std::path::absolute(parent).context("--state")?;
    fs::create_dir_all(&parent).step(|| format!("mkdir(2) {}", parent.display()))?;
    let mut lines = Vec::new();
    if only != Some(Theme::Images) {
        let line = release.join("examples/straight_line");
        let program = release.join("ch05-env");
        lines.extend(containers::all(&program, &line, &parent, runs)?);
    }
    if only != Some(Theme::Containers) {
        let place = BenchDirs::new(&release.join("ch04-tar"), &parent, runs)?;
        lines.extend(images::commit(&place)?);
        lines.extend(images::tars(&place)?);
    }
    println!("\nmedians in ms unless stated otherwise; images: {runs} rounds");
    println!("ours / theirs: the median of the ratios of all rounds");
    print!("{}", table(&lines));
    let title = only.and_then(|only| only.to_possible_value());
    let title = title.map_or("containers and images".to_owned(), |only| {
        only.get_name().to_owned()
    });
    Ok(Record::new("life", title, "ms", &parent, figures(&lines)))
}

/// Our line of the same group.
fn ours<'a>(lines: &'a [Line], line: &Line) -> &'a Line {
    let mut same = lines.iter().filter(|it| it.group == line.group);
    same.next().unwrap_or(&lines[0])
}

/// The ratio or difference, and whether the target is met.
fn judged(ours: &Line, line: &Line) -> (f64, String) {
    let ratio = ratio(&ours.values, &line.values);
    let pairs = ours.values.iter().zip(&line.values);
    let more: Vec<f64> = pairs.map(|(ours, theirs)| ours - theirs).collect();
    let more = median(&more);
    let word = |met: bool| if met { "met" } else { "not" };
    match line.aim {
        Aim::Ratio(aim) => (ratio, format!("<= {aim}, {}", word(ratio <= aim))),
        Aim::Below(aim) => {
            let own = median(&line.values);
            (ratio, format!("<= {aim}, {}", word(own <= aim)))
        }
        Aim::More(aim) => {
            (ratio, format!("{more:.2} ms more, <= {aim}, {}", word(more <= aim)))
        }
        Aim::None => (ratio, String::new()),
    }
}

pub(super) fn table(lines: &[Line]) -> String {
    let mut table = String::new();
    let mut group = "";
    for line in lines {
        let first = group != line.group;
        if first {
            group = line.group;
            table += &format!("\n{group}\n");
        }
        let time = median(&line.values);
        let (number, aim) = judged(ours(lines, line), line);
        let ratio = if first { String::new() } else { format!("{number:.3}") };
        let unit = line.unit.unwrap_or_default();
        let row =
            format!("  {:<38}{time:>10.1} {unit:<3}  {ratio:>6}  {aim}", line.name);
        table += &format!("{}\n", row.trim_end());
    }
    table
}

pub(super) fn figures(lines: &[Line]) -> Vec<Figure> {
    let of = |line: &Line| {
        let mut figure = Figure::of(line.group, &line.name, &line.values);
        figure.unit = line.unit.map(str::to_owned);
        let first = ours(lines, line);
        if let Aim::Below(aim) = line.aim {
            return figure.aimed(Some(aim));
        }
        if std::ptr::eq(first, line) {
            return figure;
        }
        let aim = match line.aim {
            Aim::Ratio(aim) => Some(aim),
            // These targets are not ratios.
            Aim::Below(_) | Aim::More(_) | Aim::None => None,
        };
        figure.ratio(ratio(&first.values, &line.values)).aimed(aim)
    };
    lines.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_refer_to_the_first_line_of_a_group_and_targets_are_judged() {
        let line = |group, name: &str, value: f64, aim| Line {
            group,
            name: name.to_owned(),
            values: vec![value; 3],
            aim,
            unit: None,
        };
        let lines = [
            line("a", "ours", 10.0, Aim::None),
            line("a", "other", 20.0, Aim::Ratio(0.4)),
            line("b", "ours", 30.0, Aim::None),
            line("b", "copy", 10.0, Aim::More(30.0)),
            line("c", "ours", 9.0, Aim::Below(8.0)),
        ];
        let text = table(&lines);
        assert!(text.contains("0.500  <= 0.4, not"), "{text}");
        assert!(text.contains("3.000  20.00 ms more, <= 30, met"), "{text}");
        let figures = figures(&lines);
        assert!(text.contains(" 9.0              <= 8, not"), "{text}");
        assert_eq!(figures.len(), 5);
        assert!(figures[4].ratio.is_none() && figures[4].aim == Some(8.0));
        assert!(figures[0].ratio.is_none() && figures[1].aim == Some(0.4));
    }
}
