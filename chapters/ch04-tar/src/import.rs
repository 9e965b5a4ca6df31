//! `import`: an image from a tar or a directory.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ch02_union::Driver;
use ch04_commit::{Draft, NewImage, become_root, layer, refuse_busybox};
use ch04_image::Store;
use common::archive::{Keep, unpack_stream};
use common::images::{Image, Reference, weigh};
use common::state::State;
use common::step::Step;

use crate::compression::unpacked;

// ANCHOR: import
/// Make an image of one layer from a tar, packed or not, from a directory, or from
/// standard input (`-`).
///
/// # Errors
/// It is none, not whole, or can't be trusted; a full disk, and other system calls'.
/// No image is made then.
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
        unpacked(open(&from, standard)?, unpack)
            .with_context(|| format!("import {}", from.display()))?;
    }
    new.created_by = format!("import {}", new.source);
    new.size = weigh(&draft.path)?;
    new.publish(&store, draft)
}
// ANCHOR_END: import

/// The path without symlinks; not a directory in which the image would be made.
fn found(state: &State, from: &Path) -> Result<std::path::PathBuf> {
    let path = fs::canonicalize(from).look(|| format!("find {}", from.display()))?;
    // It may be missing, and would be created in the directory.
    let own = state.make(state.root().to_owned())?;
    let own = fs::canonicalize(&own).look(|| format!("find {}", own.display()))?;
    if own.starts_with(&path) {
        bail!(
            "the state directory {} lies in {}, and would be copied into itself",
            state.root().display(),
            path.display()
        );
    }
    Ok(path)
}

fn open(from: &Path, standard: bool) -> Result<Box<dyn Read + Send>> {
    if standard {
        if io::stdin().is_terminal() {
            bail!("a tar doesn't come from a terminal: give a file, or pipe it in");
        }
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(from).look(|| format!("open(2) {}", from.display()))?;
    Ok(Box::new(file))
}
