//! `wait`: wait for the end of a container.

use anyhow::{Context, Result};
use common::state::{State, record};

use crate::target::Target;

/// Sleep until this container has ended. Returns its exit status as a shell reports
/// it.
///
/// # Errors
/// The exit status is unknown, because no process saw the end of the program.
pub fn wait(target: Target, state: &State) -> Result<u8> {
    let (word, home) = (target.word.clone(), target.home.clone());
    let how = target.wait_until_cleaned_up(state)?;
    how.map(|how| how.code()).with_context(|| {
        let why = match record::exists(&home) {
            true => "its supervisor was killed",
            false => "it was removed in the meantime, or it never started",
        };
        format!("the exit status of container {word} is unknown: {why}")
    })
}
