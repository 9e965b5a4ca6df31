//! The image that every chapter with a root of its own starts from, fetched when it
//! is missing.

mod source;
mod tree;
mod unpack;

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::hints;
use crate::home::remove_tree;
use crate::image::Image;
use crate::state::State;
use crate::step::{Hint, Step};

/// The image's name.
pub const NAME: &str = "busybox";

/// The busybox image; fetched first, which is said, when the state directory has
/// none.
///
/// # Errors
/// Those of [`fetch`].
pub fn image(state: &State) -> Result<Image> {
    match usable(state)? {
        Some(image) => Ok(image),
        None => fetch(state, false),
    }
}

/// The record, if its layers are there too.
fn usable(state: &State) -> Result<Option<Image>> {
    let image = Image::find(state, NAME)?;
    Ok(image.filter(|image| image.directories(state).iter().all(|dir| dir.is_dir())))
}

/// Get busybox and make the image; `anew` even when there is one.
///
/// Many may do so at once: one works, the others wait and find what it made. A
/// process that is killed leaves nothing that counts as an image, and the next one
/// clears what it left.
///
/// # Errors
/// No source has one, each with its reason; a full disk; a state directory that
/// can't be written.
pub fn fetch(state: &State, anew: bool) -> Result<Image> {
    let layers = state.make(state.layers())?;
    state.make(state.images())?;
    let path = state.root().join("fetch.lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .step(|| format!("open(2) {}", path.display()))
        .hint(hints::state)?;
    if lock.try_lock().is_err() {
        say("another process is fetching it, waiting");
        lock.lock().step(|| format!("flock(2) {}", path.display()))?;
    }
    if let Some(image) = usable(state)?.filter(|_| !anew) {
        return Ok(image);
    }
    say(&format!("there is none in {} yet", state.root().display()));
    let new = layers.join(".new");
    let made = remove_tree(&new).and_then(|()| make(state, &new));
    let removed = remove_tree(&new);
    let image = made?;
    removed?;
    Ok(image)
}

/// Make the image; `new` is a directory to work in.
fn make(state: &State, new: &Path) -> Result<Image> {
    let directory = |name: &str| -> Result<PathBuf> {
        let path = new.join(name);
        fs::create_dir_all(&path)
            .step(|| format!("mkdir(2) {}", path.display()))
            .hint(hints::state)?;
        Ok(path)
    };
    let found = source::find(&directory("source")?)?;
    let root = directory("tree")?;
    let (sha256, size) = digest(&found.file)?;
    tree::build(&found, &root)?;

    let layer = format!("{NAME}-{}", &sha256[..12]);
    let target = state.layers().join(&layer);
    // All data are on the disk before a name leads to them: after a power failure
    // there is the whole image or none.
    let layers = state.layers();
    let handle =
        File::open(&layers).step(|| format!("open(2) {}", layers.display()))?;
    nix::unistd::syncfs(&handle)
        .step(|| format!("syncfs(2) {}", layers.display()))
        .hint(hints::state)?;
    if !target.exists() {
        fs::rename(&root, &target)
            .step(|| format!("rename(2) to {}", target.display()))?;
        handle.sync_all().step(|| format!("fsync(2) {}", layers.display()))?;
    }
    let image = Image {
        name: NAME.to_owned(),
        layers: vec![layer],
        source: found.name,
        sha256,
    };
    image.save(state)?;
    let megabytes = size as f64 / 1e6;
    let Image { source, sha256, .. } = &image;
    say(&format!("{megabytes:.1} MB from {source}, sha256 {}", &sha256[..12]));
    Ok(image)
}

/// SHA-256 in hexadecimal, and the size in bytes.
fn digest(file: &Path) -> Result<(String, u64)> {
    let bytes = fs::read(file).step(|| format!("read(2) {}", file.display()))?;
    let hash = Sha256::digest(&bytes);
    let hex = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((hex, bytes.len() as u64))
}

/// A step's text.
fn at(call: &str, path: &Path) -> String {
    format!("{call} {}", path.display())
}

/// A line of progress. On a terminal it is dim: it is not what was asked for.
fn say(line: &str) {
    let mut stderr = io::stderr();
    let (dim, plain) =
        if stderr.is_terminal() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    // Progress that nobody can see is no reason to stop.
    let _ = writeln!(stderr, "{dim}busybox: {line}{plain}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_a_killed_fetch_are_no_image() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        fs::create_dir_all(state.layers().join(".new/tree/bin")).unwrap();
        assert!(usable(&state).unwrap().is_none());
        let image = Image {
            name: NAME.into(),
            layers: vec!["busybox-0".into()],
            source: "test".into(),
            sha256: "0".into(),
        };
        fs::create_dir_all(state.images()).unwrap();
        image.save(&state).unwrap();
        // A record whose layer is gone is no image either.
        assert!(usable(&state).unwrap().is_none());
        fs::create_dir_all(state.layers().join("busybox-0")).unwrap();
        assert_eq!(usable(&state).unwrap(), Some(image));
    }
}
