//! `cargo xtask bench life`: what images, and the life of a container, cost.
//!
//! Each line is a group of contestants that have their turns in one round, ours first.
//! A new one is a function that gives its [`Line`]s, in the list in [`life`].

mod containers;
mod crowd;
mod idle;
pub(super) mod images;
mod others;

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
use crate::build::build_release;
use crate::checkout::target;
use crate::command::must;

/// What a bench of a life may keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Theme {
    /// commit, import, export
    Images,
    /// run -d, exec, ps, stop
    Containers,
}

/// Where a bench of a life takes place.
pub(super) struct Place {
    pub(super) program: PathBuf,
    /// Goes with the bench.
    directory: PathBuf,
    /// The state directory.
    state: PathBuf,
    runs: u32,
}

impl Place {
    /// In a directory of its own below this one, with busybox.
    pub(super) fn new(program: &Path, parent: &Path, runs: u32) -> Result<Place> {
        let directory = parent.join("life");
        remove_tree(&directory)?;
        let state = directory.join("state");
        busybox::image(&State::at(&state))?;
        Ok(Place { program: program.to_owned(), directory, state, runs })
    }

    /// The chapter with these words.
    pub(super) fn ours(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).env("MYDOCKER_ROOT", &self.state);
        // A developer's setting: each error that is made takes 2 ms longer with it.
        command.env_remove("RUST_BACKTRACE");
        command.stdout(Stdio::null());
        command
    }

    /// A file or directory that goes with the bench.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What can't go now goes with the next bench.
        let _ = remove_tree(&self.directory);
    }
}

/// What is measured of a contestant, in one round: the part that counts, in ms.
pub(super) type Measure<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// What is aimed at.
#[derive(Clone, Copy)]
pub(super) enum Aim {
    /// This is to take so much itself at the most.
    Below(f64),
    /// Ours is to take so much of this one's time at the most.
    Ratio(f64),
    /// Ours is to take so many ms more at the most.
    More(f64),
    /// It is there to be seen.
    None,
}

/// A contestant's numbers; the first of a group is ours.
pub(super) struct Line {
    group: &'static str,
    name: String,
    values: Vec<f64>,
    aim: Aim,
    /// `None` for milliseconds.
    pub(super) unit: Option<&'static str>,
}

/// Let all have their turn in each round; the first round warms up.
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

/// Signals that would end this process with all undone: they are held back, and the
/// next command that is timed is none any more. Commands don't inherit that.
pub(super) fn hold_back() -> Result<()> {
    ending().thread_block().step(|| "pthread_sigmask(3)")
}

/// # Errors
/// One has come.
pub(super) fn go_on() -> Result<()> {
    let waiting = SignalFd::with_flags(&ending(), SfdFlags::SFD_NONBLOCK);
    let come = waiting.and_then(|waiting| waiting.read_signal());
    match come.step(|| "signalfd(2)")? {
        Some(_) => bail!("ended by a signal, all that was started is removed"),
        None => Ok(()),
    }
}

/// How long a command takes, in ms.
fn time(command: &mut Command) -> Result<f64> {
    go_on()?;
    let start = Instant::now();
    must(command)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Measure.
///
/// # Errors
/// Not root; a command that fails; a tar that is not as large as it should be; a
/// container too few or too many. Never a time.
pub(super) fn life(
    only: Option<Theme>,
    runs: u32,
    state: Option<PathBuf>,
) -> Result<Record> {
    if !common::rights::privileged() {
        bail!("what root packed, and groups, are root's: run it with sudo");
    }
    let release =
        build_release(&["--package", "ch04-tar", "--package", "ch05-env"])?;
    build_release(&["--package", "common", "--example", "straight_line"])?;
    hold_back()?;
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
        let place = Place::new(&release.join("ch04-tar"), &parent, runs)?;
        lines.extend(images::commit(&place)?);
        lines.extend(images::tars(&place)?);
    }
    println!("\nmedians, ms where nothing else is said; of images, {runs} rounds");
    println!("ours / theirs: the median of the rounds' ratios");
    print!("{}", table(&lines));
    let title = only.and_then(|only| only.to_possible_value());
    let title = title.map_or("containers and images".to_owned(), |only| {
        only.get_name().to_owned()
    });
    Ok(Record::new("life", title, "ms", &parent, figures(&lines)))
}

/// Ours of the same group.
fn ours<'a>(lines: &'a [Line], line: &Line) -> &'a Line {
    let mut same = lines.iter().filter(|it| it.group == line.group);
    same.next().unwrap_or(&lines[0])
}

/// How it stands to the aim: the number, and whether it is met.
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
            // A ratio is no aim there.
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
    fn ours_is_the_first_of_a_group_and_aims_are_judged() {
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
