//! `rm`: remove one container, with everything that belongs to it.

use anyhow::{Result, bail};
use ch04_image::Store;
use ch05_stop::{Target, kill};
use common::cli::Context;

// ANCHOR: rm
/// Remove a container: its record, write layer, log, group and name. With `force`, a
/// running container is killed first.
///
/// # Errors
/// The container is running (without `force`), is starting, or is being committed;
/// it has a note of an unknown kind.
pub fn rm(context: &Context, target: Target, force: bool) -> Result<()> {
    let word = target.word.clone();
    if target.process()?.is_some() {
        if !force {
            bail!(
                "container {word} is running: use `stop {word}` first, or `rm -f`"
            );
        }
        kill(&target)?;
    }
    let (home, called) = (target.home.clone(), target.display_name().to_owned());
    let _continuing = target.continuing();
    // Wait until the supervisor has cleaned up and recorded the end: other processes
    // may wait for this record.
    target.wait_until_cleaned_up(&context.state)?;
    home.remove(&called, context.undo)?;
    Store::open(&context.state)?.lock_and_sweep()
}
// ANCHOR_END: rm
