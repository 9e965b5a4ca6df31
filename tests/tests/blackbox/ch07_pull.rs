//! ch07-pull: images from a registry in memory, and containers of these images.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use blackbox::Lab;
use blackbox::server::{Server, answer};
use insta::assert_snapshot;
use serial_test::file_serial;

const BIN: &str = "ch07-pull";

pub(crate) fn run(lab: &Lab, words: &[&str]) -> assert_cmd::Command {
    let mut command = lab.chapter(BIN);
    command.args(words).env("DOCKER_CONFIG", lab.dir().join("docker"));
    command
}

#[track_caller]
fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = run(lab, words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

#[track_caller]
fn error(lab: &Lab, words: &[&str]) -> String {
    let out = run(lab, words).assert().failure();
    String::from_utf8(out.get_output().stderr.clone()).unwrap()
}

pub(crate) type Stored = Arc<Mutex<BTreeMap<String, (String, Vec<u8>)>>>;

/// A registry in memory. It returns what was uploaded.
pub(crate) fn registry() -> (Server, Stored) {
    let stored = Stored::default();
    let (keep, uploads) = (stored.clone(), AtomicUsize::new(0));
    let server = Server::new(move |asked, to| {
        let mut stored = keep.lock().unwrap();
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        match asked.method.as_str() {
            "POST" => {
                let number = uploads.fetch_add(1, Ordering::SeqCst);
                let place = format!("{path}{number}");
                answer(to, 202, &[("Location", &place)], b"")
            }
            "PUT" => {
                let digest = query.split("digest=").nth(1).unwrap_or_default();
                let name = match path.split_once("/uploads/") {
                    Some((blobs, _)) => {
                        format!("{blobs}/{}", digest.replace("%3A", ":"))
                    }
                    None => path.to_owned(),
                };
                let kind = asked.header("content-type").to_owned();
                stored.insert(name, (kind, asked.body.clone()));
                answer(to, 201, &[], b"")
            }
            method => match stored.get(path) {
                None => answer(to, 404, &[], b""),
                Some((kind, bytes)) => {
                    let bytes = if method == "HEAD" { &[][..] } else { bytes };
                    answer(to, 200, &[("Content-Type", kind)], bytes)
                }
            },
        }
    });
    (server, stored)
}

/// Push busybox with an additional file, `/here`, as `NAME:1`, and remove the local image.
fn push(lab: &Lab, server: &Server) -> String {
    let name = format!("{}/team/mine:1", server.name());
    ok(lab, &["run", "--name", "one", "busybox", "sh", "-c", "echo text > /here"]);
    ok(lab, &["commit", "one", &name]);
    ok(lab, &["rm", "one"]);
    ok(lab, &["push", &name]);
    ok(lab, &["rmi", &name]);
    name
}

#[test]
#[file_serial(machine)]
fn an_image_can_be_pushed_and_pulled() {
    let lab = Lab::new();
    let (server, stored) = registry();
    let name = push(&lab, &server);
    assert!(
        error(&lab, &["run", "--pull", "never", &name, "true"]).contains("no image")
    );
    let printed = ok(&lab, &["pull", &name]);
    assert!(printed.contains("Status: Downloaded newer image"), "{printed}");
    assert_eq!(ok(&lab, &["run", "--rm", &name, "cat", "/here"]), "text\n");
    // The syntax of an earlier system.
    let (repository, tag) = name.rsplit_once(':').unwrap();
    let printed = ok(&lab, &["pull", repository, tag]);
    assert!(printed.contains("Status: Image is up to date"), "{printed}");
    let refused = error(&lab, &["pull", "--platform", "linux/s390x", &name]);
    assert!(refused.contains("not for linux/s390x"), "{refused}");
    // Two layers, the configuration and the manifest.
    assert_eq!(stored.lock().unwrap().len(), 4);
    ok(&lab, &["rmi", &name]);
    assert_eq!(lab.close(), Vec::<String>::new());
}

/// Once, `rmi` of a name with a digest removed all names of the image.
#[test]
#[file_serial(machine)]
fn rmi_of_one_name_keeps_the_names_of_other_repositories() {
    let lab = Lab::new();
    let (server, _) = registry();
    let name = push(&lab, &server);
    let (repository, _) = name.rsplit_once(':').unwrap();
    let names = || {
        let mut names: Vec<String> =
            ok(&lab, &["images", "-q"]).lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    ok(&lab, &["pull", &name]);
    ok(&lab, &["tag", &name, "mine"]);
    let all = names();
    let digest = all.iter().find(|name| name.contains("@sha256:")).unwrap();
    assert_eq!(all, [&*name, &**digest, "busybox", "mine"]);
    // The name with the digest is removed with the last tag of its repository.
    let second = format!("{repository}:2");
    ok(&lab, &["tag", &name, &second]);
    ok(&lab, &["rmi", &name]);
    assert_eq!(names(), [&*second, &**digest, "busybox", "mine"]);
    ok(&lab, &["rmi", &second]);
    assert_eq!(names(), ["busybox", "mine"]);
    // A digest can be removed alone, but only once.
    ok(&lab, &["pull", &name]);
    assert_eq!(names(), all);
    ok(&lab, &["rmi", digest]);
    assert_eq!(names(), [&*name, "busybox", "mine"]);
    let refused = error(&lab, &["rmi", digest]);
    assert!(refused.contains(&format!("give one of {name}, mine")), "{refused}");
    ok(&lab, &["rmi", &name]);
    assert_eq!(ok(&lab, &["run", "--rm", "mine", "cat", "/here"]), "text\n");
    ok(&lab, &["rmi", "mine"]);
    assert_eq!(names(), ["busybox"]);
    assert_eq!(lab.close(), Vec::<String>::new());
}

#[test]
#[file_serial(machine)]
fn run_pulls_a_missing_image_and_prints_only_the_containers_output() {
    let lab = Lab::new();
    let (server, _) = registry();
    let name = push(&lab, &server);
    let requests = || server.asked().len();
    let out = run(&lab, &["run", "--rm", &name, "cat", "/here"]).assert().success();
    let out = out.get_output();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "text\n");
    let progress = String::from_utf8_lossy(&out.stderr).into_owned();
    let first = format!("Unable to find image '{name}' locally");
    assert!(progress.contains(&first), "{progress}");
    assert!(progress.contains("Pull complete"), "{progress}");
    let before = requests();
    ok(&lab, &["run", "--rm", &name, "true"]);
    assert_eq!(requests(), before, "a local image must not cause requests");
    ok(&lab, &["run", "--rm", "--pull", "always", &name, "true"]);
    assert_eq!(requests(), before + 1);
    ok(&lab, &["rmi", &name]);
}

#[test]
#[file_serial(machine)]
fn a_damaged_layer_is_never_run() {
    let lab = Lab::new();
    let (server, stored) = registry();
    let name = push(&lab, &server);
    // The layer that is not one of busybox. Both are compressed.
    let change = || {
        let mut all = stored.lock().unwrap();
        let blobs = all.values_mut().map(|it| &mut it.1);
        let layers = blobs.filter(|blob| blob.starts_with(&[0x1f, 0x8b]));
        let layer = layers.min_by_key(|blob| blob.len()).unwrap();
        let middle = layer.len() / 2;
        layer[middle] ^= 1;
    };
    change();
    let text = error(&lab, &["run", "--rm", &name, "cat", "/here"]);
    assert!(text.contains("has the digest sha256:"), "{text}");
    assert!(text.contains("was not pulled"), "{text}");
    let images = ok(&lab, &["images", "-q"]);
    assert!(!images.contains("team/mine"), "{images}");
    change();
    assert_eq!(ok(&lab, &["run", "--rm", &name, "cat", "/here"]), "text\n");
    ok(&lab, &["rmi", &name]);
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_pulls_and_runs() {
    let lab = Lab::new();
    let (server, _) = registry();
    let name = push(&lab, &server);
    let user = |words: &[&str]| {
        let mut command = lab.as_user(BIN);
        let out = command.args(words).assert().success();
        String::from_utf8(out.get_output().stdout.clone()).unwrap()
    };
    assert_eq!(user(&["run", "--rm", &name, "cat", "/here"]), "text\n");
    user(&["rmi", &name]);
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch07-pull-help", ok(&lab, &["--help"]));
    assert_snapshot!("ch07-pull-pull-help", ok(&lab, &["pull", "--help"]));
    assert_snapshot!("ch07-pull-push-help", ok(&lab, &["push", "--help"]));
}
