//! The image that every chapter with its own root filesystem uses. It is fetched if
//! it is missing.

#[cfg(test)]
mod fake;
mod oci;
mod source;
mod tree;

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use common::hints;
use common::images::{self, Image, Layout, Reference, Settings};
use common::state::Id;
use common::state::State;
use common::state::remove_tree;
use common::step::{Hint, Step, without_trace};
#[cfg(test)]
pub(crate) use fake::turn;
use source::Places;
pub use source::wants_loader;

/// The image's name.
pub const NAME: &str = "busybox";

/// The image's name, with its tag.
///
/// # Errors
/// Never: the name is valid.
pub fn reference() -> Result<Reference> {
    NAME.parse().map(Reference::with_default_tag)
}

/// The busybox image. If the state directory has none, it is fetched first, with a
/// message.
///
/// # Errors
/// The errors of [`fetch`].
pub fn image(state: &State) -> Result<Image> {
    match usable(state)? {
        Some(image) => Ok(image),
        None => without_trace(|| fetch(state, false)),
    }
}

/// The image's record, if its layers exist too.
fn usable(state: &State) -> Result<Option<Image>> {
    let image = Image::find(state, &reference()?)?;
    let Some(image) = image else { return Ok(None) };
    for layer in image.directories(state) {
        match fs::metadata(&layer) {
            Ok(meta) if meta.is_dir() => {}
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(e).untraced(|| format!("stat(2) {}", layer.display()));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(image))
}

/// The source of the image's busybox, or the source that would be used. Nothing is
/// downloaded.
///
/// # Errors
/// `$MYDOCKER_BUSYBOX` is not usable; there is no source.
pub fn source(state: &State) -> Result<String> {
    match usable(state)? {
        Some(image) => {
            Ok(format!("the image exists, created from {}", image.source))
        }
        None => source::first(&Places::here()),
    }
}

/// Get busybox and create the image; with `anew` even if it exists.
///
/// Several processes may call this at once: one fetches, the others wait and use the
/// result. A killed process leaves nothing that counts as an image, and the next
/// call removes its files.
///
/// # Errors
/// No source has a busybox (with the reason for each source); the disk is full; the
/// state directory is not writable.
pub fn fetch(state: &State, anew: bool) -> Result<Image> {
    fetch_from(&Places::here(), state, anew)
}

fn fetch_from(places: &Places, state: &State, anew: bool) -> Result<Image> {
    Layout::of(state).make()?;
    let layers = state.make_layers()?;
    let path = state.root().join("fetch.lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .step(|| format!("open(2) {}", path.display()))
        .hint(hints::state)?;
    if lock.try_lock().is_err() {
        say("another process is fetching the image, waiting");
        lock.lock().step(|| format!("flock(2) {}", path.display()))?;
    }
    if let Some(image) = usable(state)?.filter(|_| !anew) {
        return Ok(image);
    }
    if !anew {
        say(&format!("creating the image in {}", state.root().display()));
    }
    sweep(&layers)?;
    // A unique name: the package manager of a killed fetch may still work in its
    // directory.
    let new = layers.join(format!("{NEW}{}", Id::new()?));
    let made = make(places, state, &new);
    let removed = remove_tree(&new);
    let image = made?;
    removed?;
    Ok(image)
}

/// The prefix of the directories in which a fetch works.
const NEW: &str = ".new";

/// Remove the directories of killed fetches. The caller holds the lock, so none of
/// them is in use by a fetch.
fn sweep(layers: &Path) -> Result<()> {
    let entries =
        fs::read_dir(layers).step(|| format!("readdir(3) {}", layers.display()))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(NEW) {
            // If another process still writes to it, the next fetch removes it.
            let _ = remove_tree(&entry.path());
        }
    }
    Ok(())
}

/// Create the image in the working directory `new`.
fn make(places: &Places, state: &State, new: &Path) -> Result<Image> {
    let directory = |name: &str| -> Result<PathBuf> {
        let path = new.join(name);
        fs::create_dir_all(&path)
            .step(|| format!("mkdir(2) {}", path.display()))
            .hint(hints::state)?;
        Ok(path)
    };
    let found = source::find(places, &directory("source")?)?;
    let root = directory("tree")?;
    let (sha256, size) = oci::digest(&found.file)?;
    tree::build(&found, &root)?;
    let blobs = oci::Blobs::new(&root, &directory("blobs")?)?;

    let target = state.layers().join(blobs.layer.hex());
    let layout = Layout::of(state);
    let _lock = layout.lock_exclusive()?;
    blobs.place(&layout)?;
    // All data must be on the disk before a name refers to them: after a power
    // failure there is the whole image or none.
    let layers = state.layers();
    let handle =
        File::open(&layers).step(|| format!("open(2) {}", layers.display()))?;
    nix::unistd::syncfs(&handle)
        .step(|| format!("syncfs(2) {}", layers.display()))
        .hint(hints::state)?;
    // An existing layer is damaged or not wanted. Between the two renames, the
    // record refers to no layer, which counts as no image.
    if target.exists() {
        fs::rename(&target, new.join("old"))
            .step(|| format!("rename(2) {}", target.display()))?;
    }
    fs::rename(&root, &target)
        .step(|| format!("rename(2) to {}", target.display()))?;
    handle.sync_all().step(|| format!("fsync(2) {}", layers.display()))?;
    let image = Image {
        id: blobs.config.clone(),
        name: NAME.to_owned(),
        manifest: blobs.manifest.clone(),
        media_type: oci::MANIFEST.to_owned(),
        blobs: vec![blobs.layer.clone()],
        // The chain ID of the lowest layer is its digest.
        layers: vec![blobs.layer.hex().to_owned()],
        source: found.name,
        sha256,
        settings: Settings { command: vec!["sh".to_owned()], ..Settings::default() },
        created: images::now(),
        size: images::tree_size(&target)?,
    };
    image.save(state)?;
    layout.set_name(&reference()?, &image.id)?;
    layout.write_index()?;
    let megabytes = size as f64 / 1e6;
    let Image { source, sha256, .. } = &image;
    let sha256 = sha256.get(..12).context("the digest is too short")?;
    say(&format!("{megabytes:.1} MB from {source}, sha256 {sha256}"));
    Ok(image)
}

/// The text of a step.
fn at(call: &str, path: &Path) -> String {
    format!("{call} {}", path.display())
}

/// Print a line of progress. On a terminal it is dim, because it is not the
/// program's output.
fn say(line: &str) {
    let mut stderr = io::stderr();
    let (dim, plain) =
        if stderr.is_terminal() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let line = format!("{dim}busybox: {line}{plain}\n");
    if cfg!(test) {
        return eprint!("{line}");
    }
    // One write(2), so that the lines of two fetches do not mix. Progress that
    // cannot be printed is not a reason to stop.
    let _ = stderr.write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::fake::Machine;
    use super::*;

    #[test]
    fn a_record_without_its_layer_does_not_count_as_an_image() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::at(dir.path());
        let digest = images::Digest::from_hex(&"1".repeat(64)).unwrap();
        let image = Image {
            id: digest.clone(),
            name: NAME.into(),
            manifest: digest,
            layers: vec!["busybox-0".into()],
            source: "test".into(),
            sha256: "0".into(),
            ..Image::default()
        };
        let layout = Layout::of(&state);
        layout.make().unwrap();
        image.save(&state).unwrap();
        layout.set_name(&reference().unwrap(), &image.id).unwrap();
        assert!(usable(&state).unwrap().is_none());
        fs::create_dir_all(state.layers().join("busybox-0")).unwrap();
        assert_eq!(usable(&state).unwrap(), Some(image));
    }

    #[test]
    fn a_fetch_that_fails_leaves_nothing() {
        let machine = Machine::new();
        fetch_from(&machine.places(), &machine.state(), false).unwrap_err();
        assert_eq!(machine.layers(), [""; 0]);
        let found = Image::find(&machine.state(), &reference().unwrap());
        assert_eq!(found.unwrap(), None);
    }

    /// These tests need a program that runs without a compiler.
    #[cfg(target_arch = "x86_64")]
    mod with_a_busybox {
        use std::os::unix::fs::PermissionsExt;
        use std::thread;

        use super::super::fake::busybox;
        use super::*;

        fn machine_with_busybox() -> Machine {
            let machine = Machine::new();
            machine.program("path/busybox", busybox());
            machine
        }

        #[test]
        fn the_tree_has_the_files_of_a_root_filesystem() {
            let machine = machine_with_busybox();
            let state = machine.state();
            let image = fetch_from(&machine.places(), &state, false).unwrap();
            assert_eq!(usable(&state).unwrap(), Some(image.clone()));
            let root = &image.directories(&state)[0];
            assert!(root.ends_with(image.blobs[0].hex()));
            assert_eq!(fs::read(root.join("bin/busybox")).unwrap(), busybox());
            for link in ["bin/sh", "usr/bin/env"] {
                let target = fs::read_link(root.join(link)).unwrap();
                assert_eq!(target, Path::new("/bin/busybox"));
            }
            for (name, mode) in [("", 0o755), ("tmp", 0o1777), ("root", 0o700)] {
                let found = root.join(name).metadata().unwrap().permissions();
                assert_eq!(found.mode() & 0o7777, mode, "/{name}");
            }
            for name in ["dev", "proc", "sys", "run", "mnt", "home", "var/tmp"] {
                assert!(root.join(name).is_dir(), "/{name}");
            }
            // The digest must depend only on the program.
            let bin = root.join("bin/busybox").metadata().unwrap();
            assert_eq!(bin.modified().unwrap(), std::time::SystemTime::UNIX_EPOCH);
            for name in ["etc/passwd", "etc/group", "etc/hosts"] {
                assert!(root.join(name).is_file(), "/{name}");
            }
        }

        #[test]
        fn the_next_fetch_removes_the_files_of_killed_ones() {
            let machine = machine_with_busybox();
            let layers = machine.state().layers();
            fs::create_dir_all(layers.join(".newdead/tree/bin")).unwrap();
            fs::create_dir_all(layers.join("of-another-image")).unwrap();
            let state = machine.state();
            let image = fetch_from(&machine.places(), &state, false).unwrap();
            let expected = [image.layers[0].clone(), "of-another-image".into()];
            assert_eq!(machine.layers(), expected);
        }

        #[test]
        fn a_layer_without_a_record_is_created_again() {
            let machine = machine_with_busybox();
            let (places, state) = (machine.places(), machine.state());
            let image = fetch_from(&places, &state, false).unwrap();
            let layout = Layout::of(&state);
            fs::remove_file(layout.name(&reference().unwrap())).unwrap();
            fs::remove_file(layout.record(&image.id)).unwrap();
            fs::remove_file(image.directories(&state)[0].join("bin/sh")).unwrap();
            let again = fetch_from(&places, &state, false).unwrap();
            // The clock may have advanced by a second.
            assert!(again.created >= image.created);
            assert_eq!(Image { created: image.created, ..again }, image);
            assert!(image.directories(&state)[0].join("bin/sh").is_symlink());
        }

        #[test]
        fn force_repairs_a_damaged_layer() {
            let machine = machine_with_busybox();
            let (places, state) = (machine.places(), machine.state());
            let image = fetch_from(&places, &state, false).unwrap();
            let sh = image.directories(&state)[0].join("bin/sh");
            fs::remove_file(&sh).unwrap();
            fetch_from(&places, &state, false).unwrap();
            assert!(!sh.is_symlink());
            fetch_from(&places, &state, true).unwrap();
            assert!(sh.is_symlink());
            assert_eq!(machine.layers(), image.layers);
        }

        #[test]
        fn only_one_of_several_fetches_downloads_and_all_succeed() {
            let machine = Machine::new();
            machine.with_apt();
            let (places, state) = (machine.places(), machine.state());
            let images: Vec<Image> = thread::scope(|scope| {
                let fetch = || fetch_from(&places, &state, false).unwrap();
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(fetch)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(images.iter().all(|image| image == &images[0]));
            assert_eq!(machine.calls().matches("update").count(), 1);
            assert_eq!(machine.layers(), images[0].layers);
        }
    }
}
