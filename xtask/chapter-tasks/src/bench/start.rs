//! `cargo xtask bench start`: the time of a start, compared with other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::state::State;
use common::step::{Step, report};
use provision::busybox;

use super::aim::Aim;
use super::calls::{calls, strace_is_there};
use super::measure::{Heat, in_turn, median, ratio, side_by_side};
use super::peers::{Contender, PEERS, Work};
use super::private_mounts::PrivateMounts;
use super::record::{Figure, Record};
use xtask::build::build_release;
use xtask::checkout::target;
use xtask::command::must;

/// The limits of the main job.
const LIMITS: [&str; 6] = ["-m", "100m", "-cpushare", "512", "-cpuset", "0"];

/// Our time divided by the time of the straight-line program.
const LINE: Aim = Aim::of(1.15, 1.1);

/// The minimum of our containers per second divided by crun's, with two launchers.
const BESIDE: f64 = 1.5;

/// The number and the duration of the runs with two launchers.
const ROUNDS: u32 = 5;
const LONG: Duration = Duration::from_secs(2);

/// Run the benchmark.
///
/// # Errors
/// The user is not root; a container does not start; the straight-line program makes
/// other system calls than ours. A missed target is not an error.
pub(super) fn start(runs: u32, state: Option<PathBuf>) -> Result<Record> {
    if !common::rights::privileged() {
        bail!("the straight-line program requires root: run it with sudo");
    }
    let release = build_release(&["--package", "ch04-volume"])?;
    build_release(&["--package", "common", "--example", "straight_line"])?;
    let directory = target().join("bench");
    let state = state.unwrap_or_else(|| directory.join("state"));
    let state = std::path::absolute(state).context("--state")?;
    let peers = directory.join("peers");
    busybox::image(&State::at(&state))?;
    let copy = State::at(&peers);
    let copied = busybox::image(&copy)?.directories(&copy);
    let work = Work {
        root: copied.into_iter().next().context("the image has no layer")?,
        volume: directory.join("volume"),
        run: peers.join("bundle"),
    };
    fs::create_dir_all(&work.volume)
        .step(|| format!("mkdir(2) {}", work.volume.display()))?;
    let volume = work.volume.display().to_string();
    let mapped = format!("{volume}:/v");
    let words = [&["run"], &LIMITS[..], &["-v", &mapped]].concat();
    let ours = |program: &[&'static str]| {
        let words = [&words[..], program].concat();
        let environment = vec![("MYDOCKER_ROOT", state.clone())];
        Contender::new(
            "ch04-volume",
            release.join("ch04-volume"),
            &words,
            environment,
        )
    };
    let line = Contender::new(
        "straight line",
        release.join("examples/straight_line"),
        &[&volume],
        vec![("MYDOCKER_ROOT", state.clone())],
    );

    // The first run creates the directories that later runs find.
    must(&mut ours(&["true"]).command())?;
    let same = same_calls(&ours(&["true"]).command(), &line.command())?;
    println!("{}", same.as_ref().unwrap_or_else(|different| different));

    let apart = PrivateMounts::without_v2()?;
    let mut contenders = vec![ours(&["true"]), line];
    let mut aims = vec![[None; 2], [Some(LINE); 2]];
    let mut absent = Vec::new();
    for peer in PEERS {
        match peer.contender(&work, apart.as_ref(), 1) {
            Ok(Some(contender)) => {
                contenders.push(contender);
                aims.push(peer.aims);
            }
            Ok(None) => absent.push(peer.missing()),
            Err(error) => {
                let why = report(&error);
                absent.push(format!("{}: cannot be measured: {why}", peer.name));
            }
        }
    }
    let cold = in_turn(&contenders, runs, Heat::Cold)?;
    let hot = in_turn(&contenders, runs, Heat::Hot)?;
    println!("\nch04-volume {} true: whole process, in ms", words.join(" "));
    println!(
        "medians of {runs} rounds; ours / theirs: the median of the ratios of all rounds"
    );
    print!("{}", table(&contenders, &aims, [&cold, &hot]));
    println!(
        "cold: 30 ms idle time before each run; hot: directly after a run of the same kind"
    );
    println!(
        "the containers' directories are on {}; --state DIR selects another directory",
        super::record::file_system(&state)
    );
    for line in absent {
        println!("{line}");
    }

    println!();
    let both = |number| PEERS[0].contender(&work, apart.as_ref(), number);
    if let (Ok(Some(one)), Ok(Some(two))) = (both(1), both(2)) {
        beside(&[ours(&["true"]), ours(&["true"])], &[one, two])?;
    }
    let sleeping = ours(&["sleep", "1"]).command();
    println!(
        "supervisor while it runs: {} KiB private dirty",
        private_dirty(sleeping)?
    );
    same.map_err(anyhow::Error::msg)?;
    let title = format!("ch04-volume run {} … true", LIMITS.join(" "));
    let figures = figures(&contenders, &aims, [&cold, &hot]);
    Ok(Record::new("start", title, "ms", &state, figures))
}

/// The figures of the table.
fn figures(
    contenders: &[Contender],
    aims: &[[Option<Aim>; 2]],
    columns: [&[Vec<f64>]; 2],
) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (column, (group, times)) in
        ["cold", "hot"].into_iter().zip(columns).enumerate()
    {
        for (row, contender) in contenders.iter().enumerate() {
            let figure = Figure::of(group, contender.name, &times[row]);
            figures.push(match row {
                0 => figure,
                _ => figure
                    .ratio(ratio(&times[0], &times[row]))
                    .aimed(aims[row][column].map(|aim| aim.today)),
            });
        }
    }
    figures
}

/// Our row first, then the other programs with our time divided by theirs.
fn table(
    contenders: &[Contender],
    aims: &[[Option<Aim>; 2]],
    columns: [&[Vec<f64>]; 2],
) -> String {
    let mut table = format!("{:<14}", "");
    for heat in ["cold", "hot"] {
        table +=
            &format!("{heat:>8}  {:>13}  {:<25}", "ours / theirs", "aim, stricter");
    }
    for (row, contender) in contenders.iter().enumerate() {
        table = format!("{}\n{:<14}", table.trim_end(), contender.name);
        for (column, times) in columns.iter().enumerate() {
            let (ratio, aim) = match row {
                0 => (String::new(), String::new()),
                _ => {
                    let ratio = ratio(&times[0], &times[row]);
                    let aim = aims[row][column];
                    let aim = aim.map_or(String::new(), |aim| aim.judged(ratio));
                    (format!("{ratio:.3}"), aim)
                }
            };
            let time = median(&times[row]);
            table += &format!("{time:>8.2}  {ratio:>13}  {aim:<25}");
        }
    }
    format!("{}\n", table.trim_end())
}

/// Measure two launchers of our program and two of crun, in turn.
fn beside(ours: &[Contender; 2], theirs: &[Contender; 2]) -> Result<()> {
    let (mut our, mut their) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our.push(side_by_side(ours, LONG)?);
        their.push(side_by_side(theirs, LONG)?);
    }
    let ratio = ratio(&our, &their);
    println!(
        "two launchers, containers per second: {} {:.0}, {} {:.0}, ratio {ratio:.2} \
         (aim >= {BESIDE}, {})",
        ours[0].name,
        median(&our),
        theirs[0].name,
        median(&their),
        if ratio >= BESIDE { "met" } else { "not" },
    );
    Ok(())
}

/// The comparison is fair only if both programs make the same system calls. Returns
/// the sentence for the user, or as an error if they differ.
fn same_calls(ours: &Command, line: &Command) -> Result<Result<String, String>> {
    if !strace_is_there() {
        return Ok(Ok(
            "strace: not installed; cargo xtask bench --install installs it. \
                      The system calls of both programs are not compared"
                .to_owned(),
        ));
    }
    let (ours, line) = (calls(ours)?, calls(line)?);
    if ours == line {
        let count: usize = ours.values().sum();
        return Ok(Ok(format!(
            "ch04-volume and the straight-line program make the same {count} system calls"
        )));
    }
    let names: BTreeSet<&String> = ours.keys().chain(line.keys()).collect();
    let of = |calls: &BTreeMap<String, usize>, name| {
        calls.get(name).copied().unwrap_or(0)
    };
    let each =
        names.into_iter().map(|name| (name, of(&ours, name), of(&line, name)));
    let different = each.filter(|(_, ours, line)| ours != line);
    let told =
        different.map(|(name, ours, line)| format!("{name} {ours} and {line}"));
    Ok(Err(format!(
        "ch04-volume and the straight-line program make different system calls: {}",
        told.collect::<Vec<_>>().join(", ")
    )))
}

/// The private memory of the supervisor, in KiB.
fn private_dirty(mut command: Command) -> Result<u64> {
    let mut child = command.spawn()?;
    let path = Path::new("/proc").join(child.id().to_string()).join("smaps_rollup");
    // Wait until the program runs: before, the child shares the pages.
    sleep(Duration::from_millis(300));
    let text = fs::read_to_string(&path);
    // Not killed, so that it cleans up.
    child.wait()?;
    let text = text.with_context(|| path.display().to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).context("no Private_Dirty in smaps_rollup")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_targets_beside_the_ratios() {
        let who = |name| Contender::new(name, "/x".into(), &[], Vec::new());
        let times = [vec![2.0, 2.0], vec![4.0, 8.0]];
        let table = table(
            &[who("ours"), who("them")],
            &[[None; 2], [Some(Aim::of(0.4, 0.3)), Some(Aim::of(0.3, 0.2))]],
            [&times, &times],
        );
        let expected = "\
\x20                 cold  ours / theirs  aim, stricter                 hot  ours / theirs  aim, stricter
ours              2.00                                              2.00
them              6.00          0.375  <= 0.4 met, <= 0.3 not       6.00          0.375  <= 0.3 not, <= 0.2 not
";
        assert_eq!(table, expected);
    }
}
