//! How far a long operation is, on stderr.

use std::io::{self, IsTerminal, Read, Write, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::plain::on_one_line;
use crate::cli::table;

/// The time after which a line is printed, and the time between two lines: on a terminal,
/// where a line replaces the one before it and somebody waits, and elsewhere.
const ON_TERMINAL: [Duration; 2] =
    [Duration::from_secs(2), Duration::from_millis(200)];
const ELSEWHERE: [Duration; 2] = [Duration::from_secs(10); 2];

/// The operation of this process. The data may be read in another thread than the one
/// that began the operation.
static OPERATION: Mutex<Option<Operation>> = Mutex::new(None);

struct Operation {
    what: String,
    /// The number of bytes that were read or written.
    done: u64,
    at_terminal: bool,
    /// The time at which the next line is due.
    due: Instant,
    has_printed: bool,
}

/// An operation that lasts until this value is dropped.
#[derive(Debug)]
#[must_use]
pub struct Slow(());

impl Slow {
    /// Begin an operation, such as `commit web`. After some seconds, and then from time to
    /// time, a line shows the number of bytes that it has processed. [`count`] and
    /// [`Counted`] count them.
    ///
    /// No thread does this: a process with several threads cannot create a user namespace
    /// (unshare(2), EINVAL).
    pub fn begin(what: &str) -> Slow {
        let at_terminal = stderr().is_terminal();
        let operation = Operation {
            what: on_one_line(what).into_owned(),
            done: 0,
            at_terminal,
            due: Instant::now() + times(at_terminal)[0],
            has_printed: false,
        };
        *OPERATION.lock().unwrap_or_else(PoisonError::into_inner) = Some(operation);
        Slow(())
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let mut current = OPERATION.lock().unwrap_or_else(PoisonError::into_inner);
        if current.take().is_some_and(|it| it.at_terminal && it.has_printed) {
            // The line is not part of the command's output: remove it.
            let _ = stderr().write_all(b"\r\x1b[K");
        }
    }
}

/// The current operation has processed so many bytes more.
pub fn count(bytes: u64) {
    let mut current = OPERATION.lock().unwrap_or_else(PoisonError::into_inner);
    let line = current.as_mut().and_then(|it| it.count(bytes, Instant::now()));
    if let Some(line) = line {
        // Progress that cannot be printed is not a reason to stop.
        let _ = stderr().write_all(line.as_bytes());
    }
}

impl Operation {
    /// The line to print now, if one is due.
    fn count(&mut self, bytes: u64, now: Instant) -> Option<String> {
        self.done += bytes;
        if now < self.due {
            return None;
        }
        self.due = now + times(self.at_terminal)[1];
        self.has_printed = true;
        let line = format!("{}: {} processed", self.what, table::size(self.done));
        Some(match self.at_terminal {
            true => format!("\r{line}\x1b[K"),
            false => format!("{line}\n"),
        })
    }
}

fn times(at_terminal: bool) -> [Duration; 2] {
    if at_terminal { ON_TERMINAL } else { ELSEWHERE }
}

/// A reader that counts what is read.
#[derive(Debug)]
pub struct Counted<R>(pub R);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(into)?;
        count(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_after_some_seconds_and_then_from_time_to_time() {
        let begun = Instant::now();
        let operation = |at_terminal| Operation {
            what: "import a.tar".into(),
            done: 0,
            at_terminal,
            due: begun + times(at_terminal)[0],
            has_printed: false,
        };
        let mut lines = operation(false);
        let mut line = operation(true);
        let after = |milliseconds| begun + Duration::from_millis(milliseconds);
        for (milliseconds, printed, drawn) in [
            (1999, None, None),
            (2000, None, Some("2.0 MB")),
            (2100, None, None),
            (2200, None, Some("4.0 MB")),
            (10_000, Some("5.0 MB"), Some("5.0 MB")),
            (19_900, None, Some("6.0 MB")),
            (20_000, Some("7.0 MB"), None),
        ] {
            let (now, bytes) = (after(milliseconds), 1_000_000);
            let of = |size: &str| format!("import a.tar: {size} processed");
            let printed = printed.map(|size| of(size) + "\n");
            assert_eq!(lines.count(bytes, now), printed);
            let drawn = drawn.map(|size| format!("\r{}\x1b[K", of(size)));
            assert_eq!(line.count(bytes, now), drawn);
        }
    }
}
