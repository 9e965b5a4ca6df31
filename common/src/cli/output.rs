//! What a command prints on stdout.

use std::io::{ErrorKind, Write, stdout};

use anyhow::{Error, Result};

use crate::cli::step::{self, Step};
use crate::process::exit::Exit;

/// Print this text. A reader that has closed the pipe has read enough: this is no error.
///
/// # Errors
/// write(2) fails for another reason, such as ENOSPC: the output is lost.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    // An error in the destructor at the end of the process would be lost.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.look(|| "write(2) to stdout"),
    }
}

/// Print this text, then report these errors.
///
/// # Errors
/// These, and as [`print()`].
pub fn report(text: &str, errors: Vec<Error>) -> Result<Exit> {
    let printed = print(text);
    step::join_errors(errors.into_iter().map(Err).chain([printed]))?;
    Ok(Exit::Code(0))
}

/// Each word on a line of its own.
#[must_use]
pub fn lines(words: &[impl std::fmt::Display]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}
