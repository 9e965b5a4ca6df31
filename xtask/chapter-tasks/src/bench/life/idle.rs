//! The cost of many idle containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::step::Step;

use super::containers::{Bench, MANY, SLEEP};
use super::{Aim, Line, time};

/// The maximum private memory of a supervisor, in KiB.
const SUPERVISOR: f64 = 256.0;

/// The time for which idle containers are observed.
const WATCHED: Duration = Duration::from_secs(3);

impl Bench<'_> {
    /// Start many idle containers, and measure memory and wake-ups.
    pub(super) fn idle(&self) -> Result<Vec<Line>> {
        let mut took = Vec::new();
        for number in 0..MANY {
            let name = format!("c{number}");
            took.push(time(&mut self.run(&name, true, &SLEEP))?);
        }
        let running = self.ids(&[])?;
        ensure!(running.len() == MANY, "{} of {MANY} run", running.len());
        let hosts: Vec<PathBuf> =
            running.iter().map(|id| self.supervisor(id)).collect::<Result<_>>()?;
        let list = (0..self.rounds)
            .map(|_| time(&mut self.place.ours(&["ps"])))
            .collect::<Result<_>>()?;
        let dirty = |host: &PathBuf| number(host, "smaps_rollup", "Private_Dirty:");
        let dirty: Vec<f64> = hosts.iter().map(dirty).collect::<Result<_>>()?;
        let switches = || -> Result<Vec<f64>> {
            let of =
                |host: &PathBuf| number(host, "status", "voluntary_ctxt_switches:");
            hosts.iter().map(of).collect()
        };
        let before = switches()?;
        sleep(WATCHED);
        let after = switches()?;
        let woken = before.iter().zip(after).map(|(before, after)| after - before);
        let woken: Vec<f64> = woken.collect();
        // The maximum counts, not the median.
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let begun = Instant::now();
        self.remove(&running)?;
        let removed = begun.elapsed().as_secs_f64() * 1e3 / MANY as f64;
        let line = |name: &str, values, aim, unit| Line {
            group: "500 at once that do nothing",
            name: name.to_owned(),
            values,
            aim,
            unit,
        };
        let kib = Some("KiB");
        Ok(vec![
            line("run -d, the first 50", took[..50].to_vec(), Aim::None, None),
            line("run -d, the last 50", took[MANY - 50..].to_vec(), Aim::None, None),
            line("ps", list, Aim::None, None),
            line("rm -f, each", vec![removed], Aim::None, None),
            line("a supervisor's own memory", dirty.clone(), Aim::None, kib),
            line(
                "the same, the largest",
                vec![most(&dirty)],
                Aim::Below(SUPERVISOR),
                kib,
            ),
            line(
                "woken in 3 s, the most",
                vec![most(&woken)],
                Aim::Below(0.0),
                Some("x"),
            ),
        ])
    }

    /// The directory in /proc of a container's supervisor.
    fn supervisor(&self, id: &str) -> Result<PathBuf> {
        let path = self.place.state.join("running").join(id);
        let notes = fs::read_to_string(&path)
            .step(|| format!("read(2) {}", path.display()))?;
        let found = notes.lines().find_map(|line| line.strip_prefix("host "));
        let pid = found.and_then(|rest| rest.split(' ').next());
        Ok(Path::new("/proc")
            .join(pid.with_context(|| format!("container {id} has no supervisor"))?))
    }
}

/// The number after a word in a file of /proc/PID.
fn number(process: &Path, file: &str, word: &str) -> Result<f64> {
    let path = process.join(file);
    let text =
        fs::read_to_string(&path).step(|| format!("read(2) {}", path.display()))?;
    let found = text.lines().find_map(|line| line.strip_prefix(word));
    let number = found.and_then(|rest| rest.split_whitespace().next());
    let number = number.and_then(|number| number.parse().ok());
    number.with_context(|| format!("no {word} in {}", path.display()))
}
