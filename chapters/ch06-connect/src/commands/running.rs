//! Finding a container that runs.

use anyhow::{Context as _, Result};
use common::cli::Context;
use common::state::Record;
use common::{Home, Process};

/// The container and its first process.
///
/// # Errors
/// There is no such container, or it does not run.
pub(super) fn running(context: &Context, word: &str) -> Result<(Home, Process)> {
    let record = Record::find(&context.state, word)?;
    let home = record.home(&context.state);
    let process = home.program()?;
    let process = process.with_context(|| {
        format!(
            "container {word} is not running: only a running container has networks"
        )
    })?;
    Ok((home, process))
}
