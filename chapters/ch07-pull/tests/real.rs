//! `pull` and `push` with the docker-registry of the distribution. skopeo is the other
//! client.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "../../../tests/src/registry.rs"]
mod registry;

use std::fs;
use std::path::Path;
use std::process::Command;

use registry::{Registry, sh};

/// A command of this chapter, with a state directory of this name.
fn run(directory: &Path, state: &str, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ch07-pull"));
    command.args(words).env("MYDOCKER_ROOT", directory.join(state));
    command.env("DOCKER_CONFIG", directory.join("docker"));
    let out = command.output().unwrap();
    match out.status.success() {
        true => Ok(String::from_utf8(out.stdout).unwrap()),
        false => Err(String::from_utf8(out.stderr).unwrap()),
    }
}

#[track_caller]
fn ok(directory: &Path, state: &str, words: &[&str]) -> String {
    run(directory, state, words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// An image `mine` of two layers in the state directory `one`: a tree of files, and a
/// change of it that was committed elsewhere.
fn make(directory: &Path) {
    sh(
        directory,
        "mkdir -p t/d; echo 1 > t/d/one; ln -s d/one t/link; chmod 4755 t/d/one",
    );
    let tree = directory.join("t").display().to_string();
    ok(directory, "one", &["import", &tree, "mine"]);
}

/// The tree of an image, as a list of files, modes and contents.
fn tree(directory: &Path, state: &str) -> String {
    let layers = directory.join(state).join("layers");
    let found = sh(
        &layers,
        "cd \"$(ls | head -n 1)\"; find . -printf '%P %y %m %s %l\\n' | sort; cat d/one",
    );
    assert!(found.contains("d/one f 4755 2"), "{found}");
    found
}

#[test]
fn a_pushed_image_is_pulled_and_skopeo_reads_it() {
    let Some(registry) = Registry::start(false) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    make(at);
    let name = format!("{}/team/mine:1", registry.name());
    ok(at, "one", &["tag", "mine", &name]);
    let first = ok(at, "one", &["push", &name]);
    let repository =
        format!("The push refers to repository [{}/team/mine]", registry.name());
    assert!(first.starts_with(&repository), "{first}");
    assert!(first.contains(": Pushed\n"), "{first}");
    // The layer is compressed, and the image keeps the compressed layer.
    let manifest = ok(at, "one", &["manifest", &name]);
    assert!(manifest.contains("layer.v1.tar+gzip"), "{manifest}");
    assert_eq!(kinds(at, "one"), [1, 0]);
    let current = ok(at, "one", &["pull", &name]);
    assert!(current.contains("Status: Image is up to date"), "{current}");
    let again = ok(at, "one", &["push", &name]);
    assert!(again.contains(": Layer already exists\n"), "{again}");
    assert_eq!(first.lines().last(), again.lines().last());
    ok(at, "two", &["pull", &name]);
    assert_eq!(tree(at, "two"), tree(at, "one"));
    let digest = |text: &str| -> String {
        let found = text.split_whitespace().find(|word| word.starts_with("sha256:"));
        found.unwrap().to_owned()
    };
    // Pull the image by its digest into a third state directory.
    let pinned = format!(
        "{}/team/mine@{}",
        registry.name(),
        digest(first.lines().last().unwrap())
    );
    ok(at, "three", &["pull", &pinned]);
    // skopeo checks each digest when it copies.
    let (from, to) =
        (format!("docker://{name}"), format!("oci:{}:1", at.join("copy").display()));
    registry.skopeo(&["copy", "--src-tls-verify=false", &from, &to]);
    // Another repository of the same registry takes the layers from the first one.
    let other = format!("{}/other:1", registry.name());
    ok(at, "one", &["tag", "mine", &other]);
    let mounted = ok(at, "one", &["push", &other]);
    assert!(mounted.contains(": Mounted from team/mine\n"), "{mounted}");
}

/// How many blobs are compressed by gzip, and how many are a tar.
fn kinds(directory: &Path, state: &str) -> [usize; 2] {
    let blobs = directory.join(state).join("images/blobs/sha256");
    let mut kinds = [0; 2];
    for entry in fs::read_dir(blobs).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        kinds[0] += usize::from(bytes.starts_with(&[0x1f, 0x8b]));
        kinds[1] += usize::from(bytes.get(257..262) == Some(b"ustar"));
    }
    kinds
}

#[test]
fn the_same_image_has_the_same_digest_wherever_it_is_pushed() {
    let Some(registry) = Registry::start(false) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    make(at);
    assert_eq!(kinds(at, "one"), [0, 1]);
    let saved = at.join("saved.tar").display().to_string();
    ok(at, "one", &["save", "-o", &saved, "mine"]);
    ok(at, "two", &["load", "-i", &saved]);
    let last = |text: &str| text.lines().last().unwrap().to_owned();
    let push = |state: &str, image: &str, path: &str| {
        let name = format!("{}/{path}:1", registry.name());
        ok(at, state, &["tag", image, &name]);
        last(&ok(at, state, &["push", &name]))
    };
    let first = push("one", "mine", "a");
    assert_eq!(push("two", "mine", "b"), first);
    // An image that was pulled is pushed as it is, also without compression.
    let url = format!("docker://{}/a:1", registry.name());
    let plain = format!("dir:{}", at.join("plain").display());
    let words =
        ["copy", "--src-tls-verify=false", "--dest-decompress", &url, &plain];
    registry.skopeo(&words);
    registry.push(&plain, "plain:1", &["--preserve-digests"]);
    let name = format!("{}/plain:1", registry.name());
    let pulled = ok(at, "three", &["pull", &name]);
    assert_eq!(kinds(at, "three"), [0, 1]);
    let digest = pulled.lines().find_map(|line| line.strip_prefix("Digest: "));
    let again = push("three", &name, "c");
    assert!(again.contains(digest.unwrap()), "{again}, {pulled}");
    assert_ne!(again, first);
    assert_eq!(tree(at, "three"), tree(at, "one"));
}

#[test]
fn a_damaged_layer_is_not_pushed() {
    let Some(registry) = Registry::start(false) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    make(at);
    let name = format!("{}/mine:1", registry.name());
    ok(at, "one", &["tag", "mine", &name]);
    for entry in fs::read_dir(at.join("one/images/blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if bytes.get(257..262) == Some(b"ustar") {
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    let error = run(at, "one", &["push", &name]).unwrap_err();
    assert!(error.contains("is damaged: its digest is sha256:"), "{error}");
    let error = run(at, "two", &["pull", &name]).unwrap_err();
    assert!(error.contains("not found"), "{error}");
}

#[test]
fn skopeo_reads_the_store_and_its_archives_are_loaded() {
    let Some(registry) = Registry::start(false) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    make(at);
    let path = |name: &str| at.join(name).display().to_string();
    let copy =
        |from: &str, to: &str| registry.skopeo(&["copy", "--quiet", from, to]);
    let store = format!("oci:{}:mine:latest", path("one/images"));
    let [oci, docker, saved] = ["oci.tar", "docker.tar", "saved.tar"].map(path);
    copy(&store, &format!("oci-archive:{oci}:from/oci:1"));
    copy(&store, &format!("docker-archive:{docker}:from/docker:1"));
    ok(at, "one", &["save", "-o", &saved, "mine"]);
    copy(&format!("oci-archive:{saved}:mine:latest"), &format!("dir:{}", path("a")));
    copy(&format!("docker-archive:{saved}"), &format!("dir:{}", path("b")));
    for (file, name) in [(&oci, "from/oci:1"), (&docker, "from/docker:1")] {
        let state = name.replace(['/', ':'], "-");
        let loaded = ok(at, &state, &["load", "-i", file]);
        assert_eq!(loaded, format!("Loaded image: {name}\n"));
        assert_eq!(tree(at, &state), tree(at, "one"));
    }
}

#[test]
fn images_of_skopeo_are_pulled_in_each_format_and_compression() {
    let Some(registry) = Registry::start(false) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    make(at);
    let plain = format!("{}/plain:1", registry.name());
    ok(at, "one", &["tag", "mine", &plain]);
    ok(at, "one", &["push", &plain]);
    let layout = format!("oci:{}:1", at.join("copy").display());
    let url = format!("docker://{plain}");
    registry.skopeo(&["copy", "--src-tls-verify=false", &url, &layout]);
    let zstd = ["--dest-compress", "--dest-compress-format", "zstd"];
    for (tag, flags) in [
        ("gzip", ["--dest-compress", "--dest-compress-format", "gzip"].as_slice()),
        ("zstd", &zstd),
        ("docker", &["--format", "v2s2"]),
        ("plain", &[]),
    ] {
        registry.push(&layout, &format!("a:{tag}"), flags);
        let name = format!("{}/a:{tag}", registry.name());
        ok(at, tag, &["pull", &name]);
        assert_eq!(tree(at, tag), tree(at, "one"), "{tag}");
    }
}

#[test]
fn a_login_gives_the_right_to_push() {
    let Some(registry) = Registry::start(true) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    make(at);
    let name = format!("{}/mine:1", registry.name());
    ok(at, "one", &["tag", "mine", &name]);
    let error = run(at, "one", &["push", &name]).unwrap_err();
    assert!(error.contains(&format!("run `login {}`", registry.name())), "{error}");
    ok(at, "one", &["login", "-u", "me", "-p", "secret", &registry.name()]);
    ok(at, "one", &["push", &name]);
    ok(at, "two", &["pull", &name]);
    fs::remove_dir_all(at.join("docker")).unwrap();
    run(at, "three", &["pull", &name]).unwrap_err();
}

#[test]
fn a_stopped_registry_is_an_error_and_its_images_are_kept() {
    let Some(registry) = Registry::start(false) else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    make(at);
    let name = format!("{}/mine:1", registry.name());
    ok(at, "one", &["tag", "mine", &name]);
    ok(at, "one", &["push", &name]);
    ok(at, "two", &["pull", &name]);
    drop(registry);
    let error = run(at, "two", &["pull", &name]).unwrap_err();
    assert!(error.contains("no connection to"), "{error}");
    let images = ok(at, "two", &["images"]);
    assert!(images.contains("/mine"), "{images}");
}
