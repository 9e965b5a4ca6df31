//! Times of commands, and what is made of them.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::peers::Contender;

/// What goes before a run that is timed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heat {
    /// Idleness: what the run before has left to the kernel to do later is done.
    Cold,
    /// A run of the same kind: what that was kept waiting for is not waited for
    /// again.
    Hot,
}

/// Idle so long before a cold run: what others have left to the kernel is done then.
pub(super) const IDLE: Duration = Duration::from_millis(30);

/// The times of each, in ms, of so many rounds in which all have their turn: a
/// machine that slows down slows all.
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
                    Heat::Hot => crate::command::must(command)?,
                }
                let start = Instant::now();
                crate::command::must(command)?;
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

/// Containers a second with two launchers side by side.
pub(super) fn side_by_side(pair: &[Contender; 2], long: Duration) -> Result<f64> {
    let begun = Instant::now();
    let launch = |contender: &Contender| -> Result<f64> {
        contender.within(|command| {
            let mut count = 0.0;
            while begun.elapsed() < long {
                crate::command::must(command)?;
                count += 1.0;
            }
            Ok(count / begun.elapsed().as_secs_f64())
        })
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| launch(&pair[1]));
        let one = launch(&pair[0]);
        let other = other.join().map_err(|_| anyhow::anyhow!("a launcher died"))?;
        Ok(one? + other?)
    })
}

/// The middle value.
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

/// The median of the ratios of what was measured in the same round.
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
    fn ratios_are_of_pairs_and_not_of_medians() {
        // The machine was ten times slower in the last two rounds.
        let (ours, theirs) = ([1.0, 10.0, 10.0], [2.0, 20.0, 40.0]);
        assert!((ratio(&ours, &theirs) - 0.5).abs() < 1e-9);
    }
}
