//! `import`: create an image from a tar archive or a directory.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ch02_union::Driver;
use ch04_commit::{Draft, NewImage, become_root, layer, refuse_busybox};
use ch04_image::Store;
use common::archive::{Keep, unpack_stream};
use common::images::{Image, Reference, tree_size};
use common::state::State;
use common::step::Step;

use crate::compression::decompress;

// ANCHOR: import
/// Create an image with one layer from a tar archive (compressed or not), a
/// directory, or standard input (`-`).
///
/// # Errors
/// `from` is not a valid tar archive, is truncated, or contains an unsafe entry; the
/// disk is full; a system call fails. After an error, no image exists.
pub fn import(state: &State, from: &Path, name: Reference) -> Result<Image> {
    refuse_busybox(&name)?;
    let standard = from == Path::new("-");
    let from = if standard { from.to_owned() } else { found(state, from)? };
    let source =
        if standard { "standard input".into() } else { from.display().to_string() };
    let user_namespace = become_root()?;
    let store = Store::open(state)?;
    let mut new = NewImage::new(name, source);
    let draft = Draft::begin(&store)?;
    if !standard && from.is_dir() {
        layer::copy(&from, &draft.path, Driver::Overlay, false, user_namespace)?;
    } else {
        let owners = !user_namespace;
        let keep = Keep { owners, attributes: true, whiteouts: None };
        let unpack = |tar: &mut dyn Read| unpack_stream(tar, &draft.path, keep);
        decompress(open(&from, standard)?, unpack)
            .with_context(|| format!("import {}", from.display()))?;
    }
    new.created_by = format!("import {}", new.source);
    new.size = tree_size(&draft.path)?;
    new.publish(&store, draft)
}
// ANCHOR_END: import

/// Resolve the symlinks of the path. Refuses a directory that contains the state
/// directory.
fn found(state: &State, from: &Path) -> Result<std::path::PathBuf> {
    let path =
        fs::canonicalize(from).untraced(|| format!("find {}", from.display()))?;
    // It may be missing, and would be created in the directory.
    let own = state.make(state.root().to_owned())?;
    let own =
        fs::canonicalize(&own).untraced(|| format!("find {}", own.display()))?;
    if own.starts_with(&path) {
        bail!(
            "the state directory {} is inside {} and would be copied into itself",
            state.root().display(),
            path.display()
        );
    }
    Ok(path)
}

fn open(from: &Path, standard: bool) -> Result<Box<dyn Read + Send>> {
    if standard {
        if io::stdin().is_terminal() {
            bail!(
                "a tar archive cannot be read from a terminal: use a file, or a pipe"
            );
        }
        return Ok(Box::new(io::stdin()));
    }
    let file =
        File::open(from).untraced(|| format!("open(2) {}", from.display()))?;
    Ok(Box::new(file))
}
