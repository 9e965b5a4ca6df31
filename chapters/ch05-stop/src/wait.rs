//! `wait`: until it has ended, and how that was.

use anyhow::{Context, Result};
use common::state::State;

use crate::target::Target;

/// Sleep until this container has ended: its exit code, as a shell would tell it.
///
/// # Errors
/// Nobody saw its end.
pub fn wait(target: Target, state: &State) -> Result<u8> {
    let word = target.word.clone();
    let how = target.outlast(state)?;
    how.map(|how| how.code()).with_context(|| {
        format!(
            "how container {word} ended is not known: its host side was killed, or it \
             never started"
        )
    })
}
