//! The output of `pull` and `push`: on a terminal, a bar for each layer; otherwise
//! lines.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use common::step::Step;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The template of a bar for a layer that is being transferred.
const TRANSFER: &str =
    "{prefix}: {msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes}";

/// The template for a layer in any other state.
const STATE: &str = "{prefix}: {msg}";

/// Shows the progress of downloads or uploads.
#[derive(Debug)]
pub struct Progress {
    out: Out,
    /// The first error of a write. Threads cannot return it.
    error: Mutex<Option<io::Error>>,
}

#[derive(Debug)]
enum Out {
    Quiet,
    Lines(Stream),
    Bars(MultiProgress),
}

/// The stream to which the progress is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// For a command whose standard output is its progress.
    Stdout,
    /// For a command whose standard output has another purpose.
    Stderr,
}

impl Progress {
    /// Bars if the stream is a terminal, otherwise lines.
    #[must_use]
    pub fn new(stream: Stream) -> Progress {
        let (is_terminal, target) = match stream {
            Stream::Stdout => {
                (io::stdout().is_terminal(), ProgressDrawTarget::stdout())
            }
            Stream::Stderr => {
                (io::stderr().is_terminal(), ProgressDrawTarget::stderr())
            }
        };
        let out = match is_terminal {
            true => Out::Bars(MultiProgress::with_draw_target(target)),
            false => Out::Lines(stream),
        };
        Progress { out, error: Mutex::default() }
    }

    /// Print nothing.
    #[must_use]
    pub fn quiet() -> Progress {
        Progress { out: Out::Quiet, error: Mutex::default() }
    }

    /// Print a line above the bars.
    pub fn line(&self, text: &str) {
        let written = match &self.out {
            Out::Quiet => Ok(()),
            Out::Lines(Stream::Stdout) => writeln!(io::stdout(), "{text}"),
            Out::Lines(Stream::Stderr) => writeln!(io::stderr(), "{text}"),
            Out::Bars(bars) => bars.println(text),
        };
        if let Err(error) = written {
            let mut first =
                self.error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
        }
    }

    /// Print that the tag `latest` is used for a name without a tag.
    pub fn default_tag(&self, name: &str) {
        if !name.contains(":latest") {
            self.line("Using default tag: latest");
        }
    }

    /// A layer with this ID and this number of bytes.
    #[must_use]
    pub fn layer(&self, id: &str, size: u64) -> Layer<'_> {
        let bar = match &self.out {
            Out::Bars(bars) => {
                let bar = ProgressBar::new(size).with_style(style(STATE));
                // Set the prefix first: `add` draws the bar.
                Some(bars.add(bar.with_prefix(id.to_owned())))
            }
            _ => None,
        };
        let (id, ended) = (id.to_owned(), AtomicBool::new(false));
        Layer { progress: self, id, bar, ended }
    }

    /// End the output.
    ///
    /// # Errors
    /// A line could not be written.
    pub fn finish(&self) -> Result<()> {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        match first.take() {
            // A closed pipe is not an error: its reader does not need the rest.
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).untraced(|| "write(2) the progress")
            }
            _ => Ok(()),
        }
    }
}

/// The state of one layer.
#[derive(Debug)]
pub struct Layer<'a> {
    progress: &'a Progress,
    id: String,
    bar: Option<ProgressBar>,
    /// Whether the layer has reached its last state.
    ended: AtomicBool,
}

impl Layer<'_> {
    /// Show a state of the layer.
    pub fn say(&self, state: &str) {
        if self.ended.load(Ordering::Relaxed) {
            return;
        }
        match &self.bar {
            None => self.progress.line(&format!("{}: {state}", self.id)),
            Some(bar) => {
                bar.set_style(style(STATE));
                bar.set_message(state.to_owned());
            }
        }
    }

    /// Show a temporary state, but only on a bar. No line is printed.
    pub fn say_on_bar(&self, state: &str) {
        if self.bar.is_some() {
            self.say(state);
        }
    }

    /// Show that `size` bytes are transferred from now on, but only on a bar. No line
    /// is printed: without bars, the output contains only results.
    pub fn transfers(&self, what: &str, size: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(size);
            bar.set_style(style(TRANSFER).progress_chars("=> "));
            bar.set_message(what.to_owned());
        }
    }

    /// Show how many bytes have been transferred.
    pub fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// Show the last state. Later states are not shown.
    pub fn end(&self, state: &str) {
        self.say(state);
        self.ended.store(true, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [TRANSFER, STATE] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
