//! ch04-image: images by name, and containers that are kept until they are removed.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use blackbox::{Lab, end_of, record, until};
use insta::assert_snapshot;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

use crate::ch04_commit::container;

const BIN: &str = "ch04-image";

fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

fn id(state: &Path) -> String {
    container(state).file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
#[file_serial(machine)]
fn the_image_sets_the_default_command_and_environment() {
    let lab = Lab::new();
    let says =
        "command sh\ncommand -c\ncommand echo default $WORD\nenvironment WORD=a b\n";
    second_image(&lab, |record| record.replace("command sh\n", says));
    assert_eq!(ok(&lab, &["run", "--rm", "image"]), "default a b\n");
    let words = ["run", "--rm", "image", "sh", "-c", "echo $WORD"];
    assert_eq!(ok(&lab, &words), "a b\n");
    ok(&lab, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn an_entrypoint_a_working_directory_and_a_stop_signal_come_from_the_image() {
    let lab = Lab::new();
    let script = "entrypoint sh\nentrypoint -c\nentrypoint pwd; echo \"$0\"\n";
    second_image(&lab, |record| {
        record
            .replace("command sh\n", &format!("{script}command default\n"))
            .replace("directory \n", "directory /srv/new\n")
            .replace("stop-signal \n", "stop-signal SIGQUIT\n")
    });
    assert_eq!(ok(&lab, &["run", "--rm", "image"]), "/srv/new\ndefault\n");
    let words = ["run", "--name", "one", "image", "given"];
    assert_eq!(ok(&lab, &words), "/srv/new\ngiven\n");
    // The caller's entrypoint also drops the command of the image.
    let by = |entrypoint: &str, after: &[&str]| {
        let words = ["run", "--rm", "--entrypoint", entrypoint, "image"];
        ok(&lab, &[&words[..], after].concat())
    };
    assert_eq!(by("pwd", &[]), "/srv/new\n");
    assert_eq!(by("echo", &["a b"]), "a b\n");
    assert_eq!(by("", &["echo", "c"]), "c\n");
    let mut none = lab.chapter(BIN);
    none.args(["run", "--rm", "--entrypoint", "", "image"]);
    none.assert().code(125).stderr(contains("no command: the image has none"));
    let text = fs::read_to_string(container(&lab.state()).join("record")).unwrap();
    for line in ["stop-signal SIGQUIT", "directory /srv/new", "image image"] {
        assert!(text.lines().any(|it| it == line), "{text}");
    }
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "image"]);
}

#[test]
#[file_serial(machine)]
fn a_state_directory_of_an_older_version_is_refused_with_the_remedy() {
    let lab = Lab::new();
    let old = lab.dir().join("old");
    fs::create_dir_all(old.join("images")).unwrap();
    fs::write(old.join("images/busybox"), "format 1\nend\n").unwrap();
    for (bin, words) in [
        (BIN, &["images"][..]),
        (BIN, &["run", "--rm", "busybox", "true"]),
        ("ch04-volume", &["run", "true"]),
    ] {
        let mut command = lab.chapter(bin);
        command.env("MYDOCKER_ROOT", &old).args(words);
        let refused = contains("an older version of this program made the images")
            .and(contains(format!("rm -r {}", old.display())));
        command.assert().code(125).stderr(refused);
    }
}

#[test]
#[file_serial(machine)]
fn the_blobs_have_their_digests_and_other_users_cannot_read_them() {
    let lab = Lab::new();
    ok(&lab, &["images"]);
    let blobs = lab.state().join("images/blobs");
    let mode = blobs.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut count = 0;
    for entry in fs::read_dir(blobs.join("sha256")).unwrap() {
        let path = entry.unwrap().path();
        let digest = oci::sha256(&fs::read(&path).unwrap());
        assert!(path.ends_with(digest.hex()), "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 3);
    let index = fs::read_to_string(lab.state().join("images/index.json")).unwrap();
    assert!(
        index.contains(r#""org.opencontainers.image.ref.name":"busybox:latest""#)
    );
}

#[test]
#[file_serial(machine)]
fn only_a_container_without_rm_syncs_its_write_layer() {
    let lab = Lab::new();
    let look = ["busybox", "grep", " / overlay ", "/proc/mounts"];
    let goes = ok(&lab, &[&["run", "--rm"], &look[..]].concat());
    assert!(goes.contains("volatile"), "{goes}");
    let stays = ok(&lab, &[&["run", "--name", "one"], &look[..]].concat());
    assert!(stays.contains("upperdir") && !stays.contains("volatile"), "{stays}");
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn a_container_is_kept_unless_it_failed_to_start_or_has_rm() {
    let lab = Lab::new();
    let count = || fs::read_dir(lab.state().join("containers")).unwrap().count();
    ok(&lab, &["run", "--rm", "busybox", "true"]);
    lab.chapter(BIN).args(["run", "busybox", "no-such"]).assert().code(127);
    lab.chapter(BIN).args(["run", "no-image", "true"]).assert().code(125);
    assert_eq!(count(), 0);
    lab.chapter(BIN).args(["run", "busybox", "sh", "-c", "exit 3"]).assert().code(3);
    assert_eq!(count(), 1);
    let id = id(&lab.state());
    assert_eq!(end_of(&container(&lab.state())).0, "3");
    // The sweep of another run does not remove it.
    ok(&lab, &["run", "--rm", "busybox", "true"]);
    let refused = contains("image busybox is used by container");
    lab.chapter(BIN).args(["rmi", "busybox"]).assert().code(125).stderr(refused);
    ok(&lab, &["rm", &id[..4]]);
    assert_eq!(count(), 0);
    let none = contains("not found: give a name or an ID");
    lab.chapter(BIN).args(["rm", &id]).assert().code(125).stderr(none);
}

/// Write a second image record, with the name `image`: a changed copy of the record of
/// busybox.
fn second_image(lab: &Lab, change: impl FnOnce(String) -> String) -> PathBuf {
    let hex = "1".repeat(64);
    let text = fs::read_to_string(record(&lab.state(), "busybox")).unwrap();
    let id = text.lines().find_map(|line| line.strip_prefix("id ")).unwrap();
    let text = text.replace(&format!("id {id}\n"), &format!("id sha256:{hex}\n"));
    let path = lab.state().join("images/records").join(&hex);
    fs::write(&path, change(text)).unwrap();
    symlink(format!("../records/{hex}"), record(&lab.state(), "image")).unwrap();
    path
}

#[test]
#[file_serial(machine)]
fn image_names_that_are_paths_are_refused() {
    let lab = Lab::new();
    for words in [["run", "../images/busybox"], ["rmi", "../images/busybox"]] {
        let refused = contains("invalid image name");
        lab.chapter(BIN).args(words).assert().code(125).stderr(refused);
    }
}

#[test]
#[file_serial(machine)]
fn rmi_keeps_layers_that_another_image_uses() {
    let lab = Lab::new();
    second_image(&lab, |record| record);
    ok(&lab, &["run", "--name", "one", "image", "true"]);
    let refused = contains("image image is used by container one: remove the");
    lab.chapter(BIN).args(["rmi", "image"]).assert().code(125).stderr(refused);
    ok(&lab, &["rm", "one"]);
    ok(&lab, &["rmi", "image"]);
    assert_eq!(ok(&lab, &["run", "--rm", "busybox", "echo", "there"]), "there\n");
    let gone = contains("there is no image image");
    lab.chapter(BIN).args(["rmi", "image"]).assert().code(125).stderr(gone);
}

#[test]
#[file_serial(machine)]
fn rmi_force_removes_all_names_but_no_layers_in_use() {
    let lab = Lab::new();
    let path = second_image(&lab, |record| record);
    let other = record(&lab.state(), "other");
    symlink(format!("../records/{}", "1".repeat(64)), other).unwrap();
    ok(&lab, &["run", "--name", "one", "image", "true"]);
    let refused = contains("several names").and(contains("or use --force"));
    lab.chapter(BIN).args(["rmi", "1111"]).assert().code(125).stderr(refused);
    ok(&lab, &["rmi", "--force", "1111"]);
    assert_eq!(ok(&lab, &["images", "-q"]), "busybox\n111111111111\n");
    // An image without a name is kept as long as a container uses it.
    assert!(path.exists());
    ok(&lab, &["rm", "one"]);
    assert!(!path.exists());
    lab.chapter(BIN).args(["rmi", "-f", "none"]).assert().code(125);
}

/// Start a container named `one` and kill its supervisor. Returns the lock file.
fn dead(lab: &Lab, flags: &[&str]) -> PathBuf {
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--name", "one"]).args(flags);
    command.args(["busybox", "sh", "-c", "echo > /ready; sleep 1000"]);
    let mut run: Child = command.stdin(Stdio::null()).spawn().unwrap();
    let ready = |state: &Path| {
        let entries = fs::read_dir(state.join("containers")).into_iter().flatten();
        entries.flatten().any(|entry| entry.path().join("upper/ready").exists())
    };
    until(|| ready(&lab.state()));
    run.kill().unwrap();
    run.wait().unwrap();
    lab.state().join("running").join(id(&lab.state()))
}

/// The paths of all files in the state directory.
fn everything(state: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut open = vec![state.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            all.push(entry.path());
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
        }
    }
    all.sort();
    all
}

/// Assert that no command removes anything of the container, and that each error
/// contains this text.
fn assert_nothing_is_removed(lab: &Lab, says: &str) {
    let before = everything(&lab.state());
    let notes = lab.state().join("running").join(id(&lab.state()));
    let notes_before = fs::read(&notes).unwrap();
    // A start sweeps: both a start with another name and a start with the name of the
    // container.
    ok(lab, &["run", "--rm", "busybox", "true"]);
    let taken = contains("the name one is already in use");
    let words = ["run", "--rm", "--name", "one", "busybox", "true"];
    lab.chapter(BIN).args(words).assert().code(125).stderr(taken);
    for (program, words) in [
        (BIN, &["rm", "one"][..]),
        ("ch05-rm", &["rm", "one"]),
        ("ch05-rm", &["rm", "-f", "one"]),
        ("ch05-rm", &["prune"]),
        (BIN, &["rmi", "busybox"]),
        ("ch05-rm", &["rmi", "busybox"]),
    ] {
        let mut command = lab.chapter(program);
        let refused = command.args(words).assert().code(125).stdout("");
        refused.stderr(contains(says));
        assert_eq!(everything(&lab.state()), before, "{program} {words:?}");
        assert_eq!(fs::read(&notes).unwrap(), notes_before, "{program} {words:?}");
    }
}

#[test]
#[file_serial(machine)]
fn no_command_removes_a_container_with_an_unknown_note() {
    let lab = Lab::new();
    for flags in [&[][..], &["--rm"]] {
        let lock = dead(&lab, flags);
        let notes = fs::read_to_string(&lock).unwrap();
        assert!(notes.starts_with("format 1 ch04-image\n"), "{notes}");
        let later = notes.replacen("ch04-image", "ch06-connect", 1);
        fs::write(&lock, later + "link veth0\n").unwrap();
        assert_nothing_is_removed(
            &lab,
            "it has a note of the unknown kind \"link\"; `ch06-connect rm` or \
             `ch06-connect prune` removes it",
        );
        fs::write(&lock, notes).unwrap();
        ok(&lab, &["rm", "one"]);
    }
}

#[test]
#[file_serial(machine)]
fn no_command_removes_a_container_with_notes_of_another_format() {
    let lab = Lab::new();
    let lock = dead(&lab, &[]);
    let notes = fs::read_to_string(&lock).unwrap();
    for (first, says) in [
        ("format 2 ch04-image", "a newer version of this program created it"),
        // The list of parts, in the format without a version.
        ("record image groups uts", "an older version of this program created it"),
    ] {
        fs::write(&lock, notes.replacen("format 1 ch04-image", first, 1)).unwrap();
        assert_nothing_is_removed(&lab, says);
    }
    fs::write(&lock, notes).unwrap();
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn records_with_a_newer_format_are_named_and_kept() {
    let lab = Lab::new();
    let newer = "it has format 2: a newer version of this program created it";
    ok(&lab, &["run", "--name", "one", "busybox", "true"]);
    let record = container(&lab.state()).join("record");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replacen("format 1\n", "format 2\n", 1)).unwrap();
    for words in [["rm", "one"], ["rmi", "busybox"]] {
        let named = contains(newer).and(contains(record.to_str().unwrap()));
        lab.chapter(BIN).args(words).assert().code(125).stderr(named);
    }
    ok(&lab, &["run", "--rm", "busybox", "true"]);
    fs::write(&record, text).unwrap();
    ok(&lab, &["rm", "one"]);

    let image =
        second_image(&lab, |record| record.replacen("format 1\n", "format 2\n", 1));
    for words in [&["rmi", "image"][..], &["run", "image", "true"]] {
        let named = contains(newer).and(contains(image.to_str().unwrap()));
        lab.chapter(BIN).args(words).assert().code(125).stderr(named);
    }
    // The other images are still listed.
    let listed = lab.chapter(BIN).args(["images", "-q"]).assert().code(0);
    listed.stdout("busybox\n").stderr(contains(newer));
    ok(&lab, &["run", "--rm", "busybox", "true"]);
    assert!(image.exists());
    fs::remove_file(&image).unwrap();
    fs::remove_file(blackbox::record(&lab.state(), "image")).unwrap();
}

/// The number of system calls of a run: the smaller of two counts, because a signal may
/// interrupt a call, which is then repeated.
fn calls_of_a_run(lab: &Lab) -> usize {
    let count = |_| {
        let mut run = lab
            .traced(BIN, |command| command.args(["run", "--rm", "busybox", "true"]));
        let mut calls = 0;
        while run.step().is_some() {
            calls += 1;
        }
        assert_eq!(run.end(), 0);
        calls
    };
    (0..2).map(count).min().unwrap()
}

#[test]
#[file_serial(machine)]
fn run_needs_no_more_system_calls_if_5000_containers_are_running() {
    const RUNNING: usize = 5000;
    let lab = Lab::new();
    ok(&lab, &["run", "--name", "one", "busybox", "true"]);
    let alone = calls_of_a_run(&lab);

    // This process is the supervisor of all of them.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = RUNNING as u64 + 200;
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).unwrap();
    let pid = std::process::id();
    let notes = format!(
        "format 1 ch04-image\nhost {pid} 1\nprocess until-removed {pid} 1\n"
    );
    let running = lab.state().join("running");
    let mut locks = Vec::new();
    for number in 0..RUNNING {
        let path = running.join(format!("{number:012x}"));
        fs::write(&path, &notes).unwrap();
        let lock = File::open(&path).unwrap();
        lock.lock().unwrap();
        locks.push((path, lock));
    }
    let beside_running = calls_of_a_run(&lab);
    for (path, _) in &locks {
        fs::remove_file(path).unwrap();
    }
    drop(locks);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    let one = container(&lab.state());
    let record = fs::read(one.join("record")).unwrap();
    let ended: Vec<PathBuf> =
        (0..1000).map(|n| one.with_file_name(format!("{n:012x}"))).collect();
    for directory in &ended {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("record"), &record).unwrap();
    }
    let beside_ended = calls_of_a_run(&lab);
    for directory in &ended {
        fs::remove_dir_all(directory).unwrap();
    }
    ok(&lab, &["rm", "one"]);
    assert!(alone > 100, "{alone}");
    assert!(beside_running <= alone + 20, "{alone}, then {beside_running}");
    assert!(beside_ended <= alone + 20, "{alone}, then {beside_ended}");
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch04-image-help", ok(&lab, &["--help"]));
    for action in ["run", "images", "rmi", "rm"] {
        let words =
            if action == "run" { [action, "--help"] } else { [action, "-h"] };
        assert_snapshot!(format!("ch04-image-{action}-help"), ok(&lab, &words));
    }
}
