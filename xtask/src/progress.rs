//! What a command does now, while it prints nothing else.

use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// On a terminal, the line is drawn again after this time.
const TICK: Duration = Duration::from_millis(100);

/// Elsewhere, a step that takes longer prints a line.
const SOON: Duration = Duration::from_secs(2);

/// A line on standard error that names the current step and its time. On a terminal the
/// line changes, and disappears at the end. Elsewhere it is printed once, and only if the
/// step takes more than two seconds.
pub struct Progress {
    bar: ProgressBar,
    /// The thread that prints the lines, if standard error is not a terminal.
    printer: Option<(Sender<String>, JoinHandle<()>)>,
}

impl Progress {
    /// Begin with this step.
    #[must_use]
    pub fn start(step: &str) -> Progress {
        if !stderr().is_terminal() {
            let (steps, told) = mpsc::channel();
            let first = step.to_owned();
            let thread = thread::spawn(move || {
                let mut begun = Instant::now();
                let mut step = Some(first);
                loop {
                    let wait = step.as_ref().map_or(Duration::MAX, |_| {
                        SOON.saturating_sub(begun.elapsed())
                    });
                    match told.recv_timeout(wait) {
                        Ok(next) => (step, begun) = (Some(next), Instant::now()),
                        Err(RecvTimeoutError::Timeout) => {
                            step.take().iter().for_each(|step| eprintln!("{step}"));
                        }
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            });
            let printer = Some((steps, thread));
            return Progress { bar: ProgressBar::hidden(), printer };
        }
        let bar = ProgressBar::new_spinner().with_message(step.to_owned());
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(TICK);
        Progress { bar, printer: None }
    }

    /// Print on standard output, above the line.
    pub fn above<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Go on with this step.
    pub fn step(&self, step: &str) {
        self.bar.set_message(step.to_owned());
        self.bar.reset_elapsed();
        if let Some((steps, _)) = &self.printer {
            let _ = steps.send(step.to_owned());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if let Some((steps, thread)) = self.printer.take() {
            drop(steps);
            let _ = thread.join();
        }
    }
}
