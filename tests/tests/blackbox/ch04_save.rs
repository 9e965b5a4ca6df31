//! ch04-save: archives of images, additional names, and the content of an image.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use blackbox::{Caller, Lab, record, user, values};
use insta::assert_snapshot;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use serial_test::file_serial;
use tar::{Archive, Builder, EntryType, Header};

use crate::ch04_commit::layers;

const BIN: &str = "ch04-save";

fn ok(lab: &Lab, words: &[&str]) -> String {
    by(lab, Caller::Root, words)
}

/// The standard output of a command that succeeds.
fn by(lab: &Lab, caller: Caller, words: &[&str]) -> String {
    let out = caller.chapter(lab, BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

/// An image of two layers: the upper one has a file, removes one, and replaces a
/// directory.
fn make(lab: &Lab, caller: Caller, name: &str) {
    // An ordinary user's overlay marks a replaced directory with a user xattr, which a
    // tmpfs supports since Linux 6.6. On older kernels, mkdir(2) fails with EIO, and the
    // directory is missing.
    let script =
        "echo text > /file; rm /etc/hosts; rm -r /home; mkdir /home || true";
    by(lab, caller, &["run", "--name", "maker", "busybox", "sh", "-c", script]);
    by(lab, caller, &["commit", "maker", name]);
    by(lab, caller, &["rm", "maker"]);
}

/// The files that a container of the image sees.
fn seen(lab: &Lab, caller: Caller, name: &str) -> String {
    let script = "cat /file; ls /etc; ls /home; stat -c %u /file";
    by(lab, caller, &["run", "--rm", name, "sh", "-c", script])
}

const SEEN: &str = "text\ngroup\npasswd\n0\n";

/// The number of files in each directory of the images.
fn count(state: &Path) -> Vec<usize> {
    let places = ["records", "names", "blobs/sha256", "downloads", "../layers"];
    let count =
        |place| fs::read_dir(state.join("images").join(place)).unwrap().count();
    places.map(count).to_vec()
}

/// The files of an archive by name.
fn files(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = Archive::new(File::open(archive).unwrap());
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::copy(&mut entry, &mut bytes).unwrap();
        (name, bytes)
    });
    files.filter(|(name, _)| !name.ends_with('/')).collect()
}

fn archive(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut builder = Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap();
}

/// Load an image with the files of busybox, under this name and with this configuration,
/// from an archive in the old form of `docker save`.
pub(crate) fn load_with_config(lab: &Lab, name: &str, settings: &Value) {
    let path = lab.dir().join("archive.tar");
    let shown = path.to_str().unwrap();
    ok(lab, &["run", "--rm", "busybox", "true"]);
    ok(lab, &["save", "-o", shown, "busybox"]);
    let files = files(&path);
    let list = json(&files, "manifest.json");
    let mut config = json(&files, list[0]["Config"].as_str().unwrap());
    config["config"] = settings.clone();
    let layer = list[0]["Layers"][0].as_str().unwrap();
    let (_, layer) = files.iter().find(|(file, _)| file == layer).unwrap();
    let list = serde_json::json!([{
        "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"],
    }]);
    let bytes = |value: &Value| value.to_string().into_bytes();
    let all = [
        ("config.json".to_owned(), bytes(&config)),
        ("layer.tar".to_owned(), layer.clone()),
        ("manifest.json".to_owned(), bytes(&list)),
    ];
    archive(&path, &all);
    ok(lab, &["load", "-i", shown]);
    fs::remove_file(path).unwrap();
}

fn json(files: &[(String, Vec<u8>)], name: &str) -> Value {
    let (_, text) = files.iter().find(|(file, _)| file == name).unwrap();
    serde_json::from_slice(text).unwrap()
}

#[test]
#[file_serial(machine)]
fn save_and_load_preserve_the_digests_of_an_image() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        by(&lab, caller, &["run", "--rm", "busybox", "true"]);
        let state = caller.state(&lab);
        let before = count(&state);
        make(&lab, caller, "made");
        for name in ["a.tar", "a.tar.gz", "a.tar.zst"] {
            let directory = lab.dir().join("archives");
            fs::create_dir(&directory).unwrap();
            chown(&directory, Some(user()), Some(user())).unwrap();
            let file = directory.join(name);
            let shown = file.to_str().unwrap().to_owned();
            by(&lab, caller, &["save", "-o", &shown, "made"]);
            let id = values(record(&state, "made"), "id");
            let chain = values(record(&state, "made"), "layer");
            by(&lab, caller, &["rmi", "made"]);
            assert_eq!(count(&state), before);
            let loaded = by(&lab, caller, &["load", "-i", &shown]);
            assert_eq!(loaded, "Loaded image: made:latest\n");
            assert_eq!(values(record(&state, "made"), "id"), id);
            assert_eq!(values(record(&state, "made"), "layer"), chain);
            assert_eq!(seen(&lab, caller, "made"), SEEN);
            let again = directory.join("again.tar");
            by(&lab, caller, &["save", "-o", again.to_str().unwrap(), "made"]);
            if name == "a.tar" {
                assert!(fs::read(&again).unwrap() == fs::read(&file).unwrap());
            }
            fs::remove_dir_all(&directory).unwrap();
        }
        by(&lab, caller, &["rmi", "made"]);
        assert_eq!(count(&state), before);
    }
}

#[test]
#[file_serial(machine)]
fn archives_of_docker_save_are_loaded() {
    let lab = Lab::new();
    make(&lab, Caller::Root, "made");
    let before = layers(&lab.state()).len();
    let path = lab.dir().join("made.tar");
    let shown = path.to_str().unwrap();
    ok(&lab, &["save", "-o", shown, "made"]);
    let chain = values(record(&lab.state(), "made"), "layer");
    ok(&lab, &["rmi", "made"]);
    let mut files = files(&path);
    // The form before version 25: no index, and one directory for each layer.
    let list = json(&files, "manifest.json");
    let config = list[0]["Config"].as_str().unwrap();
    let blobs = list[0]["Layers"].as_array().unwrap();
    let mut old: Vec<(String, Vec<u8>)> = Vec::new();
    let mut take = |name: &str| {
        let at = files.iter().position(|(file, _)| file == name).unwrap();
        files.remove(at).1
    };
    old.push(("config.json".to_owned(), take(config)));
    let mut names = Vec::new();
    for (number, blob) in blobs.iter().enumerate() {
        let name = format!("{number}/layer.tar");
        old.push((name.clone(), take(blob.as_str().unwrap())));
        names.push(name);
    }
    let text = serde_json::json!([{
        "Config": "config.json", "RepoTags": ["old:1", "docker.io/library/old:2"],
        "Layers": names,
    }]);
    old.push(("manifest.json".to_owned(), text.to_string().into_bytes()));
    archive(&path, &old);
    let loaded = ok(&lab, &["load", "-i", shown]);
    assert_eq!(loaded, "Loaded image: old:1\nLoaded image: old:2\n");
    assert_eq!(seen(&lab, Caller::Root, "old:2"), SEEN);
    let inspected = ok(&lab, &["image", "inspect", "old:1"]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected[0]["RepoTags"], serde_json::json!(["old:1", "old:2"]));
    assert_eq!(layers(&lab.state()).len(), before);
    assert!(chain.iter().all(|layer| layers(&lab.state()).contains(layer)));
    ok(&lab, &["rmi", "old:1", "old:2"]);

    // An archive without names needs --name.
    let text = String::from_utf8(old.pop().unwrap().1).unwrap();
    let nameless = text.replace(r#"["old:1","docker.io/library/old:2"]"#, "null");
    assert_ne!(nameless, text);
    old.push(("manifest.json".to_owned(), nameless.into_bytes()));
    archive(&path, &old);
    let refused = contains("has no name: add --name");
    lab.chapter(BIN).args(["load", "-i", shown]).assert().code(125).stderr(refused);
    ok(&lab, &["load", "-i", shown, "--name", "mine"]);
    assert_eq!(seen(&lab, Caller::Root, "mine"), SEEN);
    ok(&lab, &["rmi", "mine"]);
}

/// Save an image and remove it from the store. Returns the archive.
fn saved(lab: &Lab) -> PathBuf {
    make(lab, Caller::Root, "made");
    let path = lab.dir().join("made.tar");
    ok(lab, &["save", "-o", path.to_str().unwrap(), "made"]);
    ok(lab, &["rmi", "made"]);
    path
}

/// `skopeo copy ... oci-archive:FILE:busybox` writes a name without a tag.
#[test]
#[file_serial(machine)]
fn a_name_without_a_tag_in_an_oci_archive_gets_the_tag_latest() {
    let lab = Lab::new();
    let path = saved(&lab);
    let shown = path.to_str().unwrap();
    let mut files = files(&path);
    files.retain(|(name, _)| name != "manifest.json");
    let mut index = json(&files, "index.json");
    let mut name = |annotations: Value| {
        index["manifests"][0]["annotations"] = annotations;
        let text = index.to_string().into_bytes();
        let (_, old) =
            files.iter_mut().find(|(file, _)| file == "index.json").unwrap();
        *old = text;
        archive(&path, &files);
    };
    let key = "org.opencontainers.image.ref.name";
    name(serde_json::json!({ key: "other" }));
    assert_eq!(ok(&lab, &["load", "-i", shown]), "Loaded image: other:latest\n");
    ok(&lab, &["rmi", "other"]);
    // A tag only, as containerd writes it beside the name.
    name(serde_json::json!({
        key: "edge", "io.containerd.image.name": "docker.io/library/it:edge",
    }));
    assert_eq!(ok(&lab, &["load", "-i", shown]), "Loaded image: it:edge\n");
    ok(&lab, &["rmi", "it:edge"]);
    for tag in ["latest", "1.2"] {
        name(serde_json::json!({ key: tag }));
        let refused = contains("has no name: add --name");
        lab.chapter(BIN)
            .args(["load", "-i", shown])
            .assert()
            .code(125)
            .stderr(refused);
    }
    ok(&lab, &["image", "prune"]);
}

#[test]
#[file_serial(machine)]
fn a_damaged_or_hostile_archive_adds_no_image_and_leaves_nothing() {
    let lab = Lab::new();
    let path = saved(&lab);
    let shown = path.to_str().unwrap();
    let before = count(&lab.state());
    let good = files(&path);
    let manifest = json(&good, "index.json")["manifests"][0]["digest"].clone();
    let manifest = manifest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let blob = |at: usize| {
        let digest = json(&good, &manifest)["layers"][at]["digest"].clone();
        digest.as_str().unwrap().replace("sha256:", "blobs/sha256/")
    };
    let refuse = |files: &[(String, Vec<u8>)], says: &str| {
        archive(&path, files);
        let mut load = lab.chapter(BIN);
        let refused = load.args(["load", "-i", shown]).assert().code(125);
        refused.stderr(contains(says).and(contains("load")));
        ok(&lab, &["images", "-q"]);
        ok(&lab, &["image", "prune"]);
        assert_eq!(count(&lab.state()), before, "{says}");
    };
    let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = good.clone();
        let (_, bytes) = files.iter_mut().find(|(file, _)| file == name).unwrap();
        change(bytes);
        files
    };
    let upper = blob(1);
    refuse(&change(&upper, &|bytes| bytes[1000] ^= 1), "is damaged: its digest is");
    refuse(&change(&manifest, &|bytes| bytes.push(b' ')), "is damaged: its digest");
    refuse(&change("index.json", &|bytes| bytes.truncate(9)), "read the index");
    let missing: Vec<_> =
        good.iter().filter(|(name, _)| *name != upper).cloned().collect();
    refuse(&missing, "has no file");
    refuse(&[("x".to_owned(), Vec::new())], "is not an archive of images");
    // The old form: the digests of the layers are in the configuration only.
    let list = json(&good, "manifest.json");
    let mut legacy = change(&upper, &|bytes| {
        let at = bytes.windows(5).position(|bytes| bytes == b"text\n").unwrap();
        bytes[at] = b'T';
    });
    legacy.retain(|(name, _)| name != "index.json");
    assert!(list[0]["Layers"][1].as_str().unwrap() == upper);
    refuse(&legacy, "the digest of the uncompressed layer is");
    // A link must not lead to a file of the host.
    let secret = lab.dir().join("secret");
    fs::write(&secret, "secret").unwrap();
    let mut builder = Builder::new(File::create(&path).unwrap());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_link(&mut header, "manifest.json", &secret).unwrap();
    builder.into_inner().unwrap();
    let mut load = lab.chapter(BIN);
    load.args(["load", "-i", shown]).assert().code(125).stderr(contains("archive"));
    assert_eq!(count(&lab.state()), before);
}

/// `save` once held a lock until the archive was written. A slow reader of the pipe
/// therefore blocked every other command, and `save busybox` waited for itself if busybox
/// was missing.
#[test]
#[file_serial(machine)]
fn a_slow_reader_of_an_archive_blocks_no_other_command() {
    let lab = Lab::new();
    let state = lab.dir().join("empty");
    let busybox = lab.image().join("bin/busybox");
    let run = |words: &[&str], input: &[u8]| {
        let mut command = lab.chapter(BIN);
        command.env("MYDOCKER_ROOT", &state).env("MYDOCKER_BUSYBOX", &busybox);
        let limited = command.args(words).timeout(Duration::from_secs(120));
        let done = limited.write_stdin(input).assert().success();
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    };
    let mut save = lab.command(&[], BIN);
    save.env("MYDOCKER_ROOT", &state).env("MYDOCKER_BUSYBOX", &busybox);
    save.args(["save", "busybox"]).stdout(Stdio::piped());
    let mut save = save.spawn().unwrap();
    let mut archive = vec![0];
    let mut pipe = save.stdout.take().unwrap();
    pipe.read_exact(&mut archive).unwrap();
    // The archive is larger than a pipe, so its writer waits now.
    run(&["tag", "busybox", "other"], b"");
    run(&["rmi", "busybox", "other"], b"");
    assert!(count(&state)[2] > 0, "a blob that is being read was removed");
    pipe.read_to_end(&mut archive).unwrap();
    assert!(save.wait().unwrap().success());
    assert_eq!(count(&state), [0; 5]);
    assert_eq!(run(&["load", "-q"], &archive), "busybox:latest\n");
    assert_eq!(run(&["run", "--rm", "busybox", "echo", "works"], b""), "works\n");
    // An image that is here already keeps its origin.
    let origin = || values(record(&state, "busybox"), "source");
    let before = origin();
    let again = lab.dir().join("again.tar");
    fs::write(&again, &archive).unwrap();
    run(&["load", "-i", again.to_str().unwrap()], b"");
    assert!(!before.is_empty());
    assert_eq!(origin(), before);
}

#[test]
#[file_serial(machine)]
fn an_image_is_removed_with_its_last_name() {
    let lab = Lab::new();
    let before = count(&lab.state());
    make(&lab, Caller::Root, "made");
    let [id] = &values(record(&lab.state(), "made"), "id")[..] else { panic!() };
    let hex = id.strip_prefix("sha256:").unwrap();
    ok(&lab, &["tag", "made", "localhost:5000/a/b:v1"]);
    ok(&lab, &["tag", &hex[..12], "again"]);
    let names = "again\nbusybox\nlocalhost:5000/a/b:v1\nmade\n";
    let mut listed: Vec<String> =
        ok(&lab, &["images", "-q"]).lines().map(str::to_owned).collect();
    listed.sort();
    assert_eq!(listed.join("\n") + "\n", names);
    assert_eq!(ok(&lab, &["images", "-q", "made"]), "made\n");
    assert_eq!(
        ok(&lab, &["images", "-q", "localhost:5000/a/b"]),
        "localhost:5000/a/b:v1\n"
    );
    assert_eq!(ok(&lab, &["images", "-q", "made:v1"]), "");
    let table = ok(&lab, &["images"]);
    assert!(table.starts_with("REPOSITORY"), "{table}");
    let line =
        table.lines().find(|line| line.contains("localhost:5000/a/b")).unwrap();
    assert!(line.contains("v1") && line.contains(&hex[..12]), "{line}");
    assert!(line.contains("container "), "{line}");
    // An ID is accepted only if the image has one name.
    let refused = contains(
        "has several names: give one of again, localhost:5000/a/b:v1, made",
    );
    lab.chapter(BIN).args(["rmi", &hex[..8]]).assert().code(125).stderr(refused);
    ok(&lab, &["run", "--name", "one", "made", "true"]);
    // A name can be removed although a container uses the image, if another name is left.
    ok(&lab, &["rmi", "made", "localhost:5000/a/b:v1"]);
    let refused = contains("image again is used by container one");
    lab.chapter(BIN).args(["rmi", "again"]).assert().code(125).stderr(refused);
    // `tag` and `commit` report that a name gets another image.
    make(&lab, Caller::Root, "other");
    let replaces = contains("again: image").and(contains(&hex[..12]));
    lab.chapter(BIN)
        .args(["tag", "other", "again"])
        .assert()
        .success()
        .stderr(replaces);
    let table = ok(&lab, &["images"]);
    assert!(table.contains("<none>"), "{table}");
    // Nothing is lost: the container's image is still there, by its ID.
    assert_eq!(seen(&lab, Caller::Root, &hex[..12]), SEEN);
    ok(&lab, &["commit", "one", "third"]);
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "other", "again", "third"]);
    let gone = contains(format!("there is no image {}", &hex[..12]));
    lab.chapter(BIN).args(["rmi", &hex[..12]]).assert().code(125).stderr(gone);
    assert_eq!(count(&lab.state()), before);
}

#[test]
#[file_serial(machine)]
fn prune_removes_untagged_images_and_interrupted_downloads() {
    let lab = Lab::new();
    let before = count(&lab.state());
    make(&lab, Caller::Root, "made");
    let images = lab.state().join("images");
    let [id] = &values(record(&lab.state(), "made"), "id")[..] else { panic!() };
    // The state after a pull by digest.
    let by_digest = format!("made@{id}");
    fs::rename(record(&lab.state(), "made"), images.join("names").join(&by_digest))
        .unwrap();
    fs::write(images.join("downloads/x.part"), "half").unwrap();
    let table = ok(&lab, &["images"]);
    assert!(table.contains("<none>"), "{table}");
    assert_eq!(seen(&lab, Caller::Root, &by_digest), SEEN);
    ok(&lab, &["run", "--name", "one", &by_digest, "true"]);
    assert_eq!(ok(&lab, &["image", "prune"]), "");
    assert_eq!(fs::read_dir(images.join("downloads")).unwrap().count(), 0);
    ok(&lab, &["rm", "one"]);
    assert_eq!(ok(&lab, &["image", "prune"]), format!("{by_digest}\n"));
    assert_eq!(count(&lab.state()), before);
}

#[test]
#[file_serial(machine)]
fn history_shows_the_layers_and_their_commands() {
    let lab = Lab::new();
    make(&lab, Caller::Root, "made");
    let history = ok(&lab, &["history", "made"]);
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 3, "{history}");
    assert!(
        lines[1].contains("5 B") && lines[1].contains("sh -c echo text"),
        "{history}"
    );
    assert!(lines[2].ends_with("busybox"), "{history}");
    ok(&lab, &["rmi", "made"]);
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch04-save-help", ok(&lab, &["--help"]));
    for action in ["save", "load", "tag", "history", "image"] {
        let help = ok(&lab, &[action, "-h"]);
        assert_snapshot!(format!("ch04-save-{action}-help"), help);
    }
    for action in ["inspect", "prune"] {
        let help = ok(&lab, &["image", action, "-h"]);
        assert_snapshot!(format!("ch04-save-image-{action}-help"), help);
    }
}
