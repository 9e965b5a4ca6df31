//! `rm`: one container, with everything that it has.

use anyhow::{Result, bail};
use ch04_image::Store;
use ch05_stop::{Target, kill};
use common::cli::Context;

// ANCHOR: rm
/// Remove a container that was found: record, layers, log, group, name. With `force` a
/// running one is killed first.
///
/// # Errors
/// It runs, or is just being started; it is being committed; it has a note of an unknown
/// kind.
pub fn rm(context: &Context, target: Target, force: bool) -> Result<()> {
    let word = target.word.clone();
    if target.process()?.is_some() {
        if !force {
            bail!("container {word} is running: `stop {word}` ends it, or `rm -f`");
        }
        kill(&target)?;
    }
    let (home, called) = (target.home.clone(), target.called().to_owned());
    let _continuing = target.continuing();
    // Its host side undoes what it did, and writes how it ended, for those who wait.
    target.outlast(&context.state)?;
    home.remove(&called, context.undo)?;
    Store::open(&context.state)?.tidy()
}
// ANCHOR_END: rm
