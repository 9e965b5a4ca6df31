//! One damaged or foreign file in the state directory costs one row of a list, and the
//! ordinary commands remove it.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use blackbox::{Lab, until};
use predicates::str::contains;
use serial_test::file_serial;

const BIN: &str = "ch07-pull";

/// The standard output and standard error of a command that succeeds.
fn said(lab: &Lab, words: &[&str]) -> [String; 2] {
    let out = lab.chapter(BIN).args(words).assert().success();
    let out = out.get_output();
    [&out.stdout, &out.stderr].map(|text| String::from_utf8(text.clone()).unwrap())
}

fn ok(lab: &Lab, words: &[&str]) -> String {
    said(lab, words)[0].clone()
}

fn id(lab: &Lab, name: &str) -> String {
    let link = fs::read_link(lab.state().join("names").join(name)).unwrap();
    link.to_str().unwrap().to_owned()
}

fn file(lab: &Lab, container: &str, name: &str) -> PathBuf {
    lab.state().join("containers").join(container).join(name)
}

fn damage(path: &Path) {
    fs::write(path, "junk\n").unwrap();
}

#[test]
#[file_serial(machine)]
fn a_damaged_container_costs_one_row_and_can_be_removed() {
    let lab = Lab::new();
    for name in ["whole", "a", "b", "c", "d", "e"] {
        ok(&lab, &["run", "--name", name, "busybox", "true"]);
    }
    let ids = ["a", "b", "c", "d", "e"].map(|name| id(&lab, name));
    damage(&file(&lab, &ids[0], "record"));
    damage(&file(&lab, &ids[1], "record"));
    let end = file(&lab, &ids[2], "ended");
    fs::remove_file(&end).unwrap();
    symlink("junk", &end).unwrap();
    // A file in place of a directory, and a directory in place of a file.
    let whole = lab.state().join("containers").join(&ids[3]);
    fs::remove_dir_all(&whole).unwrap();
    damage(&whole);
    fs::remove_file(file(&lab, &ids[4], "record")).unwrap();
    fs::create_dir(file(&lab, &ids[4], "record")).unwrap();

    let [listed, warned] = said(&lab, &["ps", "-a"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("whole"), "{listed}");
    assert_eq!(warned.lines().count(), 5, "{warned}");
    for id in &ids {
        let line = format!("warning: container {id} cannot be shown (`rm {id}` or ");
        assert!(warned.contains(&line), "{warned}");
    }
    assert_eq!(ok(&lab, &["rm", "a"]), "a\n");
    assert_eq!(ok(&lab, &["rm", &ids[1]]), format!("{}\n", ids[1]));
    assert_eq!(ok(&lab, &["prune"]).lines().count(), 4);
    assert_eq!(fs::read_dir(lab.state().join("names")).unwrap().count(), 0);
    assert_eq!(said(&lab, &["ps", "-a", "-q"]), ["", ""]);
}

#[test]
#[file_serial(machine)]
fn a_running_container_with_a_damaged_record_keeps_its_image() {
    let lab = Lab::new();
    ok(&lab, &["run", "-d", "--name", "one", "busybox", "sleep", "1000"]);
    let one = id(&lab, "one");
    damage(&file(&lab, &one, "record"));
    assert_eq!(ok(&lab, &["prune"]), "");
    let rmi = lab.chapter(BIN).args(["rmi", "busybox"]).assert().code(125);
    rmi.stderr(contains(format!(
        "container {one} is running, and it is not known which image it uses"
    )));
    assert_eq!(ok(&lab, &["stop", "-t", "0", "one"]), "one\n");
    assert_eq!(ok(&lab, &["rm", "one"]), "one\n");
    ok(&lab, &["run", "-d", "--name", "two", "busybox", "sleep", "1000"]);
    damage(&file(&lab, &id(&lab, "two"), "record"));
    assert_eq!(ok(&lab, &["rm", "-f", "two"]), "two\n");
}

#[test]
#[file_serial(machine)]
fn a_record_of_a_newer_version_is_not_damaged_and_not_removed() {
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "true"]);
    let record = file(&lab, &id(&lab, "one"), "record");
    let was = fs::read_to_string(&record).unwrap();
    fs::write(&record, was.replace("format 1\n", "format 2\n")).unwrap();
    for words in [&["rm", "one"][..], &["rm", "-f", "one"], &["prune"]] {
        let refused = lab.chapter(BIN).args(words).assert().code(125);
        refused.stderr(contains("a newer version of this program created it"));
    }
    fs::write(&record, was).unwrap();
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn a_name_without_a_container_can_be_used_again() {
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "true"]);
    let names = lab.state().join("names");
    let make = || {
        damage(&names.join("file"));
        symlink("junk", names.join("junk")).unwrap();
        symlink("0123456789ab", names.join("gone")).unwrap();
    };
    make();
    for name in ["file", "junk", "gone"] {
        let run =
            ok(&lab, &["run", "--rm", "--name", name, "busybox", "echo", "ran"]);
        assert_eq!(run, "ran\n", "{name}");
    }
    make();
    assert_eq!(ok(&lab, &["rm", "file", "junk", "gone"]), "file\njunk\ngone\n");
    make();
    let mut pruned: Vec<String> =
        ok(&lab, &["prune"]).lines().map(str::to_owned).collect();
    pruned.sort();
    assert_eq!(pruned, ["file", "gone", "junk", "one"]);
    assert_eq!(fs::read_dir(&names).unwrap().count(), 0);
}

#[test]
#[file_serial(machine)]
fn a_damaged_image_costs_one_row_and_can_be_removed() {
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "sh", "-c", ": > /one"]);
    ok(&lab, &["run", "--name", "two", "busybox", "sh", "-c", ": > /two"]);
    ok(&lab, &["commit", "two", "whole"]);
    for image in ["a", "b", "c"] {
        ok(&lab, &["commit", "one", image]);
    }
    ok(&lab, &["tag", "a", "a:2"]);
    let images = lab.state().join("images");
    let record = |name: &str| fs::canonicalize(images.join("names").join(name));
    let damaged =
        ["a:latest", "b:latest", "c:latest"].map(|name| record(name).unwrap());
    damaged.iter().for_each(|path| damage(path));
    for stray in ["stray", "names/stray2", "records/stray3"] {
        damage(&images.join(stray));
    }
    let [listed, warned] = said(&lab, &["images"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains("busybox") && listed.contains("whole"), "{listed}");
    let distinct = damaged.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(warned.lines().count(), distinct + 3, "{warned}");
    // A damaged record of another image does not block these commands.
    ok(&lab, &["tag", "whole", "other"]);
    ok(&lab, &["rmi", "other", "whole"]);
    let run = lab.chapter(BIN).args(["run", "--rm", "b", "true"]).assert().code(125);
    run.stderr(contains("is not an image record (`rmi "));
    for name in ["a:2", "a", "stray", "stray2"] {
        ok(&lab, &["rmi", name]);
    }
    let id = damaged[1].file_name().unwrap().to_str().unwrap();
    if damaged[1].exists() && damaged[1] != damaged[2] {
        ok(&lab, &["rmi", &id[..12]]);
    }
    let pruned = ok(&lab, &["image", "prune"]);
    assert!(pruned.contains("stray3"), "{pruned}");
    let [listed, warned] = said(&lab, &["images"]);
    assert_eq!((listed.lines().count(), warned.as_str()), (2, ""), "{listed}");
    ok(&lab, &["rm", "one", "two"]);
}

#[test]
#[file_serial(machine)]
fn damaged_oci_files_are_rewritten_and_damaged_blobs_can_be_removed() {
    let mut lab = Lab::new();
    // A new inode with the same content is not a leak.
    let mark = lab.state().join("images/oci-layout");
    let whole = fs::read(&mark).unwrap();
    damage(&mark);
    ok(&lab, &["tag", "busybox", "first"]);
    ok(&lab, &["rmi", "first"]);
    assert_eq!(fs::read(&mark).unwrap(), whole);
    lab.update_snapshot();
    ok(&lab, &["run", "--name", "one", "busybox", "sh", "-c", ": > /one"]);
    let images = lab.state().join("images");
    let blobs = || {
        let entries = fs::read_dir(images.join("blobs/sha256")).unwrap();
        entries
            .map(|it| it.unwrap().path())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = blobs();
    ok(&lab, &["commit", "one", "whole"]);
    let of = |name: &str| fs::read(images.join(name)).unwrap();
    let whole = of("index.json");
    damage(&images.join("index.json"));
    assert_eq!(said(&lab, &["images"])[1], "");
    ok(&lab, &["tag", "whole", "third"]);
    ok(&lab, &["rmi", "third"]);
    assert_eq!(of("index.json"), whole);
    for blob in blobs().difference(&before) {
        damage(blob);
    }
    let mut save = lab.chapter(BIN);
    save.args(["save", "-o", "a.tar", "whole"])
        .assert()
        .code(125)
        .stderr(contains("is damaged: its digest is"));
    assert_eq!(ok(&lab, &["run", "--rm", "whole", "echo", "ran"]), "ran\n");
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "whole"]);
    assert_eq!(blobs(), before);
}

#[test]
#[file_serial(machine)]
fn a_damaged_login_file_does_not_block_a_public_registry() {
    let lab = Lab::new();
    let config = lab.dir().join("docker");
    fs::create_dir(&config).unwrap();
    damage(&config.join("config.json"));
    // There is no registry, so the connection fails, and not the login.
    for words in [&["manifest", "127.0.0.1:9/a"][..], &["pull", "127.0.0.1:9/a"]] {
        let mut command = lab.chapter(BIN);
        let out =
            command.args(words).env("DOCKER_CONFIG", &config).assert().code(125);
        out.stderr(contains("is not a configuration of Docker"))
            .stderr(contains(": continuing without a login"))
            .stderr(contains("Connection refused"));
    }
    // A login would overwrite the file.
    let mut login = lab.chapter(BIN);
    login.args(["login", "-u", "me", "--password-stdin", "127.0.0.1:9"]);
    let login = login.env("DOCKER_CONFIG", &config).write_stdin("x").assert();
    login.code(125).stderr(contains("is not a configuration of Docker"));
}

#[test]
#[file_serial(machine)]
fn a_killed_container_with_damaged_notes_can_be_removed() {
    let lab = Lab::new();
    let mut run = lab.command(&[], BIN);
    run.args(["run", "--name", "one", "busybox", "sleep", "1000"]);
    let mut run = run.stdin(Stdio::null()).spawn().unwrap();
    let notes = || {
        let link = fs::read_link(lab.state().join("names/one")).ok()?;
        let path = lab.state().join("running").join(link);
        let whole =
            fs::read_to_string(&path).is_ok_and(|it| it.contains("\nprocess "));
        whole.then_some(path)
    };
    until(|| notes().is_some());
    let notes = notes().unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    damage(&notes);
    assert_eq!(ok(&lab, &["rm", "one"]), "one\n");
    assert!(!notes.exists());
}
