//! The exercises of chapter 4 about images, commits and tars.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use blackbox::record;

use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("ch04-image-1", "tag_gives_an_image_a_second_name", tag, "'tag'"),
    (
        "ch04-image-2",
        "layers_lists_the_directories_of_the_layers",
        paths,
        "'layers'",
    ),
    ("ch04-image-3", "sort_lists_the_largest_image_first", by_size, "'--sort'"),
    (
        "ch04-commit-1",
        "command_sets_the_command_of_the_image",
        command,
        "'--command'",
    ),
    ("ch04-commit-2", "env_sets_a_variable_of_the_image", image_variable, "'--env'"),
    ("ch04-commit-3", "rm_removes_the_committed_container", commit_rm, "'--rm'"),
    ("ch04-tar-1", "squash_merges_many_layers_into_one", squash, "'squash'"),
    ("ch04-tar-2", "a_tar_with_another_digest_is_refused", digest, "'--sha256'"),
    ("ch04-tar-3", "check_reads_a_tar_and_creates_no_image", check_tar, "'--check'"),
    ("ch04-save-1", "list_shows_an_archive_and_adds_no_image", list, "'--list'"),
    ("ch04-save-2", "history_quiet_lists_the_diff_ids", diff_ids, "'--quiet'"),
    ("ch04-save-3", "prune_dry_run_removes_nothing", dry_run, "'--dry-run'"),
];

/// Run `then` with an image `first` of a container that executed this script.
fn committed(room: &Room, script: &str, then: impl FnOnce() -> Outcome) -> Outcome {
    let run = ["run", "--name", "one", "busybox", "sh", "-c", script];
    room.words(&run).end()?.succeeds()?;
    let made = room.words(&["commit", "one", "first"]).end();
    let outcome = made.and_then(|made| made.succeeds()).and_then(|()| then());
    // Remove everything that this check created.
    room.words(&["rm", "one"]).end()?;
    for image in ["first", "second"] {
        room.words(&["rmi", image]).end()?;
    }
    outcome
}

fn command(room: &mut Room) -> Outcome {
    committed(room, "true", || {
        let words = ["commit", "--command", "echo two words", "one", "second"];
        room.words(&words).end()?.succeeds()?;
        room.words(&["run", "--rm", "second"]).end()?.prints("two words\n")?;
        // The command line still has precedence.
        let words = ["run", "--rm", "second", "echo", "other"];
        room.words(&words).end()?.prints("other\n")
    })
}

fn image_variable(room: &mut Room) -> Outcome {
    committed(room, "true", || {
        let words = ["commit", "--env", "WORD=two words", "one", "second"];
        room.words(&words).end()?.succeeds()?;
        let words = ["run", "--rm", "second", "sh", "-c", "echo $WORD"];
        room.words(&words).end()?.prints("two words\n")
    })
}

fn commit_rm(room: &mut Room) -> Outcome {
    committed(room, "echo text > /file", || {
        room.words(&["commit", "--rm", "one", "second"]).end()?.succeeds()?;
        let left = fs::read_dir(room.lab.state().join("containers"));
        let left = left.expect("readdir(3)").count();
        so(left == 0, "no container", format!("{left} containers"))?;
        let words = ["run", "--rm", "second", "cat", "/file"];
        room.words(&words).end()?.prints("text\n")
    })
}

fn tag(room: &mut Room) -> Outcome {
    let layers = || fs::read_dir(room.lab.state().join("layers")).unwrap().count();
    let before = layers();
    let outcome = room.words(&["tag", "busybox", "second"]).end().and_then(|made| {
        made.succeeds()?;
        let after = layers();
        so(
            after == before,
            "no more layers than before",
            format!("{after} of {before}"),
        )?;
        let words = ["run", "--rm", "second", "echo", "text"];
        room.words(&words).end()?.prints("text\n")?;
        room.words(&["rmi", "second"]).end()?.succeeds()?;
        let words = ["run", "--rm", "busybox", "echo", "text"];
        room.words(&words).end()?.prints("text\n")
    });
    let _ = fs::remove_file(record(&room.lab.state(), "second"));
    outcome
}

fn paths(room: &mut Room) -> Outcome {
    let expected = format!("{}\n", room.lab.image().display());
    room.words(&["layers", "busybox"]).end()?.prints(&expected)
}

/// The record that [`second_image`] makes.
fn second_record(room: &Room) -> PathBuf {
    room.lab.state().join("images/records").join("1".repeat(64))
}

/// Write a second record with the layer of busybox. `change` is applied to each line.
fn second_image(room: &Room, change: impl Fn(&str) -> String) {
    let state = room.lab.state();
    let text = fs::read_to_string(record(&state, "busybox")).expect("read(2)");
    let lines: Vec<String> = text.lines().map(change).collect();
    fs::write(second_record(room), lines.join("\n") + "\n").expect("write(2)");
    let target = format!("../records/{}", "1".repeat(64));
    symlink(target, record(&state, "a-second")).expect("symlink(2)");
}

fn by_size(room: &mut Room) -> Outcome {
    second_image(room, |line| match line.split_once(' ') {
        Some(("id", _)) => format!("id sha256:{}", "1".repeat(64)),
        Some(("size", _)) => "size 1".to_owned(),
        _ => line.to_owned(),
    });
    let sorted = room.words(&["images", "-q", "--sort", "size"]).end();
    let by_name = room.words(&["images", "-q"]).end();
    fs::remove_file(second_record(room)).expect("unlink(2)");
    fs::remove_file(record(&room.lab.state(), "a-second")).expect("unlink(2)");
    sorted?.prints("busybox\na-second\n")?;
    by_name?.prints("a-second\nbusybox\n")
}

fn squash(room: &mut Room) -> Outcome {
    committed(room, "rm /etc/hosts; echo text > /file", || {
        room.words(&["squash", "first"]).end()?.succeeds()?;
        let layers = room.lab.layers("first").len();
        so(layers == 1, "one layer", format!("{layers} layers"))?;
        let words = ["run", "--rm", "first", "sh", "-c", "ls /etc; cat /file"];
        room.words(&words).end()?.prints("group\npasswd\ntext\n")
    })
}

fn list(room: &mut Room) -> Outcome {
    let archive = room.path("x.tar");
    let archive = archive.to_string_lossy();
    let made = committed(room, "echo text > /file", || {
        let save = ["save", "-o", &archive, "first", "busybox"];
        room.words(&save).end()?.succeeds()
    });
    made?;
    let listed = room.words(&["load", "--list", "-i", &archive]).end()?;
    listed.succeeds()?;
    let mut names: Vec<&str> = listed.out.lines().collect();
    names.sort_unstable();
    let expected = ["busybox:latest", "first:latest"];
    so(names == expected, "both names", format!("{names:?}"))?;
    room.words(&["images", "-q"]).end()?.prints("busybox\n")
}

fn diff_ids(room: &mut Room) -> Outcome {
    committed(room, "echo text > /file", || {
        let inspected = room.words(&["image", "inspect", "first"]).end()?.out;
        let layers = inspected.split("\"Layers\"").nth(1).unwrap_or_default();
        let layers = layers.split('"').filter(|it| it.starts_with("sha256:"));
        let mut expected: Vec<&str> = layers.collect();
        expected.reverse();
        so(expected.len() == 2, "two layers", inspected.clone())?;
        let expected = format!("{}\n{}\n", expected[0], expected[1]);
        room.words(&["history", "--quiet", "first"]).end()?.prints(&expected)
    })
}

fn dry_run(room: &mut Room) -> Outcome {
    committed(room, "echo text > /file", || {
        let download = room.lab.state().join("images/downloads/a.part");
        fs::write(&download, "text").expect("write(2)");
        let before = room.words(&["images", "-q"]).end()?.out;
        let tried = room.words(&["image", "prune", "--all", "--dry-run"]).end();
        let after = room.words(&["images", "-q"]).end()?.out;
        let kept = fs::remove_file(&download).is_ok();
        tried?.prints("first\n")?;
        so(before == after, &before, &after)?;
        so(kept, "an interrupted download", "none")?;
        let run = ["run", "--rm", "first", "cat", "/file"];
        room.words(&run).end()?.prints("text\n")
    })
}

/// Run `then` with a tar of a container.
fn exported(room: &Room, then: impl FnOnce(&str) -> Outcome) -> Outcome {
    let tar = room.path("x.tar");
    let tar = tar.to_string_lossy();
    let run = ["run", "--name", "one", "busybox", "sh", "-c", "echo text > /file"];
    room.words(&run).end()?.succeeds()?;
    let made = room.words(&["export", "-o", &tar, "one"]).end();
    let outcome = made.and_then(|made| made.succeeds()).and_then(|()| then(&tar));
    room.words(&["rm", "one"]).end()?;
    // This image exists only if the check failed.
    room.words(&["rmi", "second"]).end()?;
    outcome
}

fn digest(room: &mut Room) -> Outcome {
    exported(room, |tar| {
        let volume = format!("{tar}:/x.tar:ro");
        let words = ["run", "--rm", "-v", &volume, "busybox", "sha256sum", "/x.tar"];
        let digest = room.words(&words).end()?.out;
        let digest = digest.split(' ').next().unwrap_or_default();
        let words = ["import", "--sha256", digest, tar, "second"];
        room.words(&words).end()?.succeeds()?;
        room.words(&["rmi", "second"]).end()?.succeeds()?;
        let other = "0".repeat(64);
        let words = ["import", "--sha256", &other, tar, "second"];
        room.words(&words).end()?.exits(125)?;
        room.words(&["images", "-q"]).end()?.prints("busybox\n")
    })
}

fn check_tar(room: &mut Room) -> Outcome {
    exported(room, |tar| {
        room.words(&["import", "--check", tar]).end()?.succeeds()?;
        room.words(&["images", "-q"]).end()?.prints("busybox\n")?;
        let bytes = fs::read(tar).expect("read(2)");
        fs::write(tar, &bytes[..bytes.len() / 2]).expect("write(2)");
        room.words(&["import", "--check", tar]).end()?.exits(125)
    })
}
