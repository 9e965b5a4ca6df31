//! `wait`: until it has ended, and how that was.

use anyhow::{Context, Result};
use common::state::{State, record};

use crate::target::Target;

/// Sleep until this container has ended: its exit code, as a shell would tell it.
///
/// # Errors
/// Nobody saw its end.
pub fn wait(target: Target, state: &State) -> Result<u8> {
    let (word, home) = (target.word.clone(), target.home.clone());
    let how = target.outlast(state)?;
    how.map(|how| how.code()).with_context(|| {
        let why = match record::exists(&home) {
            true => "its host side was killed",
            false => "it was removed meanwhile, or never started",
        };
        format!("how container {word} ended is not known: {why}")
    })
}
