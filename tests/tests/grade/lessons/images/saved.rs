//! The checks of ch04-save: images as archives.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;

use oci::{Config, Descriptor, Document, Manifest, media, sha256};
use serde_json::json;
use tar::{Archive, Builder, EntryType, Header};

use super::{inside, layers, ok, one, same_layers, tidy};
use crate::Entry;
use crate::lessons::whiteout::is_whiteout;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("save", "an_archive_is_an_oci_image_layout", layout, ""),
    ("save", "the_same_image_gives_the_same_bytes", same_bytes, ""),
    ("save", "a_saved_image_can_be_loaded", loads, ""),
    ("load", "the_whiteouts_of_a_layer_are_kept", whiteouts, ""),
    ("load", "a_layer_with_another_digest_is_refused", wrong_layer, ""),
    ("load", "a_blob_with_another_digest_is_refused", wrong_blob, ""),
    ("prune", "all_removes_every_image_that_no_container_uses", unused, ""),
    ("prune", "an_interrupted_download_is_removed", download, ""),
    ("prune", "a_download_that_is_being_written_is_kept", written, ""),
];

/// The files of a tar, by their paths.
fn files(path: &str) -> Result<BTreeMap<String, Vec<u8>>, Trouble> {
    let read = || -> std::io::Result<BTreeMap<String, Vec<u8>>> {
        let mut all = BTreeMap::new();
        for entry in Archive::new(File::open(path)?).entries()? {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            all.insert(name, bytes);
        }
        Ok(all)
    };
    read().map_err(|error| Trouble::fail("a tar", error.to_string()))
}

/// Call `then` with the path of an archive of the image `first`.
fn saved(room: &Room, then: impl FnOnce(&str) -> Outcome) -> Outcome {
    let path = room.path("x.tar").to_string_lossy().into_owned();
    let outcome = one(room, "busybox", "echo text > /file").and_then(|()| {
        ok(room, &["commit", "one", "first"])?;
        ok(room, &["save", "-o", &path, "first"])?;
        then(&path)
    });
    tidy(room, outcome)
}

fn layout(room: &mut Room) -> Outcome {
    saved(room, |path| {
        let files = files(path)?;
        for name in ["oci-layout", "index.json", "manifest.json"] {
            let there = files.contains_key(name);
            so(there, &format!("{name} in the archive"), "it is not there")?;
        }
        let mut blobs = 0;
        for (name, bytes) in &files {
            let Some(hex) = name.strip_prefix("blobs/sha256/") else { continue };
            if !hex.is_empty() {
                blobs += 1;
                let digest = sha256(bytes);
                let expected = format!("the digest {hex} of {name}");
                so(digest.hex() == hex, &expected, digest.hex())?;
            }
        }
        let expected = "four blobs: two layers, the configuration and the manifest";
        so(blobs == 4, expected, format!("{blobs} blobs"))
    })
}

fn same_bytes(room: &mut Room) -> Outcome {
    saved(room, |path| {
        let again = room.path("y.tar");
        let again = again.to_string_lossy();
        ok(room, &["save", "-o", &again, "first"])?;
        let same =
            fs::read(path).expect("read(2)") == fs::read(&*again).expect("read(2)");
        so(same, "the same bytes in two archives", "other bytes")
    })
}

fn loads(room: &mut Room) -> Outcome {
    saved(room, |path| {
        ok(room, &["rmi", "first"])?;
        ok(room, &["load", "-i", path])?;
        inside(room, "first", "cat /file", "text\n")
    })
}

/// A tar of files with these texts.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, *bytes).expect("a tar");
    }
    tar.into_inner().expect("a tar")
}

/// What is wrong with an archive.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The configuration has another digest of the uncompressed layer.
    Layer,
    /// The content of the layer's blob has another digest than its name.
    Blob,
}

/// Load an archive of an image `first` with two layers, made by hand.
fn load(room: &Room, fault: Fault) -> Outcome {
    let below = tar(&[("d/gone", b"text"), ("d/kept", b"text")]);
    let above = tar(&[("d/.wh.gone", b""), ("d/new", b"text")]);
    let mut config = Config::new();
    config.rootfs.diff_ids = vec![sha256(&below), sha256(&above)];
    if fault == Fault::Layer {
        config.rootfs.diff_ids[1] = sha256(b"another layer");
    }
    let config = config.text().expect("a configuration");
    let about = |kind: &str, bytes: &[u8]| {
        Descriptor::new(kind, sha256(bytes), bytes.len() as u64)
    };
    let layers = vec![about(media::LAYER, &below), about(media::LAYER, &above)];
    let manifest = Manifest::new(about(media::CONFIG, &config), layers);
    let manifest = manifest.text().expect("a manifest");
    let mut entry = about(media::MANIFEST, &manifest);
    let name = "org.opencontainers.image.ref.name".to_owned();
    entry.annotations.insert(name, "first".to_owned());
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let mut blobs: Vec<(String, Vec<u8>)> = [&below, &above, &config, &manifest]
        .map(|bytes| {
            (format!("blobs/sha256/{}", sha256(bytes).hex()), bytes.clone())
        })
        .into();
    if fault == Fault::Blob {
        blobs[1].1.extend(vec![0; 512]);
    }
    let mut files: Vec<(&str, &[u8])> = vec![
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", index.as_bytes()),
    ];
    files.extend(blobs.iter().map(|(name, bytes)| (&**name, &**bytes)));
    let path = room.path("by-hand.tar");
    fs::write(&path, tar(&files)).expect("write(2)");
    let ended = room.words(&["load", "-i", &path.to_string_lossy()]).end()?;
    ended.exits(if fault == Fault::None { 0 } else { 125 })?;
    if fault != Fault::Blob {
        return Ok(());
    }
    // Without this check, the load fails later: the blob is not in the store.
    let found = sha256(&blobs[1].1);
    let names = ended.err.contains(found.hex());
    ended.so(names, &format!("an error that names the blob's digest, {found}"))
}

fn whiteouts(room: &mut Room) -> Outcome {
    let outcome = load(room, Fault::None).and_then(|()| {
        let top = room.lab.layers("first").swap_remove(0);
        let layer = room.lab.state().join("layers").join(top).join("d");
        is_whiteout(&layer.join("gone"))?;
        let left = layer.join(".wh.gone").exists();
        so(!left, "no file d/.wh.gone", "it exists")?;
        let new = fs::read_to_string(layer.join("new")).unwrap_or_default();
        so(new == "text", "\"text\" in d/new", format!("{new:?}"))
    });
    tidy(room, outcome)
}

/// The archive is refused, and leaves no image and no layer.
fn refused(room: &Room, fault: Fault) -> Outcome {
    let count = layers(room);
    let outcome = load(room, fault).and_then(|()| {
        room.words(&["images", "-q"]).end()?.prints("busybox\n")?;
        // The next change sweeps.
        room.words(&["image", "prune"]).end()?.succeeds()?;
        same_layers(room, count)
    });
    tidy(room, outcome)
}

fn wrong_layer(room: &mut Room) -> Outcome {
    refused(room, Fault::Layer)
}

fn wrong_blob(room: &mut Room) -> Outcome {
    refused(room, Fault::Blob)
}

fn unused(room: &mut Room) -> Outcome {
    let outcome = one(room, "busybox", "echo text > /file").and_then(|()| {
        ok(room, &["commit", "one", "first"])?;
        ok(room, &["image", "prune"])?;
        // It has a tag.
        inside(room, "first", "cat /file", "text\n")?;
        room.words(&["image", "prune", "--all"]).end()?.prints("first\n")?;
        // The container `one` uses busybox.
        room.words(&["images", "-q"]).end()?.prints("busybox\n")
    });
    tidy(room, outcome)
}

/// Prune, with an interrupted download. Returns whether the download is still there.
fn prune(room: &Room, lock: bool) -> Result<bool, Trouble> {
    let path = room.lab.state().join("images/downloads/grade");
    let file = File::create(&path).expect("open(2)");
    if lock {
        file.lock().expect("flock(2)");
    }
    let pruned = ok(room, &["image", "prune"]);
    let left = fs::remove_file(&path).is_ok();
    pruned.map(|()| left)
}

fn download(room: &mut Room) -> Outcome {
    so(!prune(room, false)?, "no download after the prune", "it is still there")
}

fn written(room: &mut Room) -> Outcome {
    so(prune(room, true)?, "a download that a pull has locked", "it was removed")
}
