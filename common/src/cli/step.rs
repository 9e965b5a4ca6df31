//! One step of setting up a container: a system call, its trace line, and its error
//! context.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Write};

use anyhow::{Error, Result};
use nix::errno::Errno;

use crate::cli::plain::{on_one_line, plain};
use crate::process::exit::{Failure, code_of};

/// The process, the hook and the part that execute a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) side: &'static str,
    pub(crate) hook: &'static str,
    pub(crate) part: &'static str,
}

type TraceSink = Box<dyn Fn(&str)>;

thread_local! {
    static POSITION: Cell<Position> =
        const { Cell::new(Position { side: "parent", hook: "begin", part: "" }) };
    static SINK: RefCell<Option<TraceSink>> = const { RefCell::new(None) };
}

/// The following steps have this position.
pub(crate) fn set_position(position: Position) {
    POSITION.set(position);
}

/// Print the trace, one line per step, on stderr. This is `--trace`.
pub fn start_trace() {
    SINK.set(Some(Box::new(|line| print_line(&on_one_line(line)))));
}

/// Pass the trace lines to `sink` instead, if tracing is on.
pub(crate) fn redirect_trace(sink: impl Fn(&str) + 'static) {
    if is_tracing() {
        SINK.set(Some(Box::new(sink)));
    }
}

/// Stop tracing.
pub(crate) fn stop_trace() {
    SINK.set(None);
}

/// Do this without a trace, because it is not a step of a container: for example the
/// fetch of an image, which happens once on a machine and has hundreds of steps.
pub fn without_trace<T>(action: impl FnOnce() -> T) -> T {
    let sink = SINK.take();
    let result = action();
    SINK.set(sink);
    result
}

pub(crate) fn is_tracing() -> bool {
    SINK.with_borrow(Option::is_some)
}

/// Pass on a finished trace line.
pub(crate) fn print_trace(line: &str) {
    SINK.with_borrow(|sink| {
        if let Some(sink) = sink {
            sink(line);
        }
    });
}

/// Trace an action that is not a system call.
pub(crate) fn trace(text: &dyn fmt::Display) {
    if !is_tracing() {
        return;
    }
    let Position { side, hook, part } = POSITION.get();
    print_trace(&format!("trace: {side:<6} {hook:<8} {part:<10} {text}"));
}

/// Write a warning to stderr.
pub fn warn(text: &str) {
    print_line(&format!("warning: {}", plain(text)));
}

/// Write a line to stderr that is neither an error nor a warning. With `--trace`, it
/// stands among the lines of the trace, in the order of the events.
pub fn note(text: &str) {
    let text = plain(text);
    if is_tracing() {
        text.lines().for_each(print_trace);
    } else {
        print_line(&text);
    }
}

/// Write one line, or several, to stderr with one write(2): the parent, the child and
/// the program have the same stderr, and their lines must not mix.
pub(crate) fn print_line(text: &str) {
    // A closed stderr is not a reason to stop.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Join several errors: each is on its own line, after "and:". The exit status is
/// that of the first error.
///
/// # Errors
/// There is at least one error among the results.
pub fn join_errors(results: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let mut errors = results.into_iter().filter_map(Result::err);
    // All results must be evaluated, even those after the first error.
    let Some(first) = errors.next() else { return Ok(()) };
    let texts: Vec<String> = errors.map(|error| report(&error)).collect();
    if texts.is_empty() {
        return Err(first);
    }
    let code = code_of(&first);
    let text = format!("{}\nand: {}", report(&first), texts.join("\nand: "));
    Err(Failure { code, text }.into())
}

/// Makes a step of a system call's result: `--trace` shows the text if the call
/// succeeds, and the error contains it if the call fails.
///
/// The text names the call as its manual page does, with all paths and flags:
/// `mount(2) bind /tmp/v on /test`.
pub trait Step<T> {
    /// Trace the call, and add its text to an error.
    ///
    /// # Errors
    /// The error of the call, as `TEXT: ENOENT: No such file or directory`.
    fn step<S: fmt::Display>(self, text: impl FnOnce() -> S) -> Result<T>;

    /// Add the call's text to an error, without a trace: the call only reads or checks.
    ///
    /// # Errors
    /// The error of the call, as [`Step::step`] returns it.
    fn untraced<S: fmt::Display>(self, text: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Cause>> Step<T> for Result<T, E> {
    fn step<S: fmt::Display>(self, text: impl FnOnce() -> S) -> Result<T> {
        if self.is_ok() && is_tracing() {
            trace(&text());
            return self.untraced(|| "");
        }
        self.untraced(text)
    }

    fn untraced<S: fmt::Display>(self, text: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|cause| {
            let text = text().to_string();
            cause.into().0.context(on_one_line(&text).into_owned())
        })
    }
}

/// An error of the standard library, nix or rustix, with its errno.
#[derive(Debug)]
pub struct Cause(Error);

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Cause {
        Cause(errno.into())
    }
}

impl From<rustix::io::Errno> for Cause {
    fn from(errno: rustix::io::Errno) -> Cause {
        Errno::from_raw(errno.raw_os_error()).into()
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Cause {
        match error.raw_os_error() {
            Some(errno) => Errno::from_raw(errno).into(),
            None => Cause(error.into()),
        }
    }
}

/// A hint on a second line below an error, for a misleading errno: the kernel's
/// usual meaning and the remedy.
pub trait Hint<T> {
    /// Add the hint that `find` returns for this errno, if any.
    ///
    /// # Errors
    /// The same error, with the hint.
    fn hint(self, find: impl FnOnce(Errno) -> Option<String>) -> Result<T>;
}

impl<T> Hint<T> for Result<T> {
    fn hint(self, find: impl FnOnce(Errno) -> Option<String>) -> Result<T> {
        self.map_err(|error| {
            let errno = error.root_cause().downcast_ref::<Errno>().copied();
            match errno.and_then(find) {
                Some(hint) => Hinted { hint, error }.into(),
                None => error,
            }
        })
    }
}

/// Add a hint to an error without an errno.
#[must_use]
pub fn with_hint(error: Error, hint: Option<String>) -> Error {
    match hint {
        Some(hint) => Hinted { hint, error }.into(),
        None => error,
    }
}

/// An error with a hint, which [`report`] prints.
#[derive(Debug)]
struct Hinted {
    hint: String,
    error: Error,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.hint)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.error.as_ref())
    }
}

/// An error as the user sees it: the error chain on one line, hints below it. Names in it
/// cannot control the terminal.
#[must_use]
pub fn report(error: &Error) -> String {
    let mut line = Vec::new();
    let mut hints = String::new();
    for cause in error.chain() {
        if cause.is::<Hinted>() {
            hints += &format!("\nhint: {cause}");
        } else {
            line.push(cause.to_string());
        }
    }
    plain(&(line.join(": ") + &hints)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_puts_the_chain_on_one_line_and_the_hint_below() {
        let error = Err::<(), _>(Errno::ENOENT)
            .step(|| "mount(2) bind /tmp/v on /test")
            .hint(|errno| (errno == Errno::ENOENT).then(|| "make it".to_owned()))
            .map_err(|error| error.context("enter volume"))
            .unwrap_err();
        assert_eq!(
            report(&error),
            "enter volume: mount(2) bind /tmp/v on /test: \
             ENOENT: No such file or directory\nhint: make it"
        );
    }

    #[test]
    fn io_errors_read_like_errnos() {
        let error = std::fs::read("/nonexistent").step(|| "read it").unwrap_err();
        assert_eq!(report(&error), "read it: ENOENT: No such file or directory");
    }

    #[test]
    fn an_action_without_a_trace_is_not_traced_and_later_steps_are() {
        let lines = std::rc::Rc::new(RefCell::new(Vec::new()));
        start_trace();
        let kept = lines.clone();
        redirect_trace(move |line| kept.borrow_mut().push(line.to_owned()));
        trace(&"one");
        without_trace(|| trace(&"two"));
        trace(&"three");
        stop_trace();
        let lines = lines.borrow();
        let ends: Vec<&str> =
            lines.iter().filter_map(|line| line.split(' ').next_back()).collect();
        assert_eq!(ends, ["one", "three"]);
    }
}
