//! The output of a command on stdout.

use std::io::{ErrorKind, Write, stdout};

use anyhow::{Error, Result};

use crate::cli::step::{self, Step};
use crate::process::exit::Exit;

/// Print this text. A closed pipe is not an error: its reader has read enough.
///
/// # Errors
/// write(2) fails for another reason, such as ENOSPC, and output is lost.
pub fn print(text: &str) -> Result<()> {
    write(text.as_bytes())
}

/// Write these bytes, as [`print()`] does.
///
/// # Errors
/// write(2) fails, and output is lost.
pub fn write(bytes: &[u8]) -> Result<()> {
    let mut out = stdout().lock();
    // Flush here: an error in the destructor, when the process ends, would be lost.
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.untraced(|| "write(2) to stdout"),
    }
}

/// Print this text, then report these errors.
///
/// # Errors
/// One of these errors; write(2) fails, and output is lost.
pub fn report(text: &str, errors: Vec<Error>) -> Result<Exit> {
    let printed = print(text);
    step::join_errors(errors.into_iter().map(Err).chain([printed]))?;
    Ok(Exit::Code(0))
}

/// Print this text, and a warning for each of these: a damaged record hides only itself.
///
/// # Errors
/// write(2) fails, and output is lost.
pub fn print_and_warn(text: &str, damaged: &[Error]) -> Result<Exit> {
    for error in damaged {
        step::warn(&step::report(error));
    }
    report(text, Vec::new())
}

/// Each word on its own line.
#[must_use]
pub fn lines(words: &[impl std::fmt::Display]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}
