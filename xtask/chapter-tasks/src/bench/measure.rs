//! Measure commands, and compute statistics of the results.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::peers::Contender;

/// The preparation for a timed run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heat {
    /// Idle time, in which the kernel finishes deferred work of the previous run.
    Cold,
    /// An untimed run of the same command, so that one-time delays are not measured.
    Hot,
}

/// The idle time before a cold run, in which the kernel finishes deferred work.
pub(super) const IDLE: Duration = Duration::from_millis(30);

/// The times of each contestant in ms. All contestants take turns in each round, so
/// that a slow phase of the machine affects all of them.
pub(super) fn in_turn(
    contenders: &[Contender],
    runs: u32,
    heat: Heat,
) -> Result<Vec<Vec<f64>>> {
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..=runs {
        for (contender, times) in contenders.iter().zip(&mut times) {
            let time = contender.within(|command| {
                match heat {
                    Heat::Cold => sleep(IDLE),
                    Heat::Hot => xtask::command::must(command)?,
                }
                let start = Instant::now();
                xtask::command::must(command)?;
                Ok(start.elapsed().as_secs_f64() * 1e3)
            })?;
            // The first round warms the caches.
            if round > 0 {
                times.push(time);
            }
        }
    }
    Ok(times)
}

/// Containers per second with two parallel launchers.
pub(super) fn side_by_side(pair: &[Contender; 2], long: Duration) -> Result<f64> {
    let begun = Instant::now();
    let launch = |contender: &Contender| -> Result<f64> {
        contender.within(|command| {
            let mut count = 0.0;
            while begun.elapsed() < long {
                xtask::command::must(command)?;
                count += 1.0;
            }
            Ok(count / begun.elapsed().as_secs_f64())
        })
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| launch(&pair[1]));
        let one = launch(&pair[0]);
        let other =
            other.join().map_err(|_| anyhow::anyhow!("a launcher failed"))?;
        Ok(one? + other?)
    })
}

/// The median.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// The median of the ratios of the values of each round.
pub(super) fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let pairs = ours.iter().zip(theirs);
    median(&pairs.map(|(ours, theirs)| ours / theirs).collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(&[9.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 9.0]) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn the_ratio_is_the_median_of_the_ratios_of_pairs() {
        // The machine was ten times slower in the last two rounds.
        let (ours, theirs) = ([1.0, 10.0, 10.0], [2.0, 20.0, 40.0]);
        assert!((ratio(&ours, &theirs) - 0.5).abs() < 1e-9);
    }
}
