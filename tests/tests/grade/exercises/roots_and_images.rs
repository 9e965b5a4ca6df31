//! The exercises of chapter 4.

use std::fs;

use super::{later_mount, read_only};
use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    (
        "ch04-pivot-root-1",
        "with_read_only_nothing_is_written",
        read_only,
        "'--read-only'",
    ),
    ("ch04-pivot-root-2", "tmp_is_in_memory", tmp, "\"\", exit code 1"),
    (
        "ch04-pivot-root-3",
        "etc_hostname_names_the_host",
        etc_hostname,
        "exit code 1",
    ),
    ("ch04-overlay-1", "with_upper_the_write_layer_stays", upper, "'--upper'"),
    (
        "ch04-overlay-2",
        "with_changes_it_tells_what_was_written",
        told,
        "'--changes'",
    ),
    ("ch04-overlay-3", "with_layer_a_tree_lies_above_the_image", layer, "'--layer'"),
    ("ch04-volume-1", "a_volume_may_be_without_setuid", nosuid, "neither ro nor rw"),
    ("ch04-volume-2", "with_tmpfs_a_directory_is_in_memory", tmpfs, "'--tmpfs'"),
    (
        "ch04-volume-3",
        "with_rslave_a_later_mount_is_seen",
        rslave,
        "neither ro nor rw",
    ),
    ("ch04-commit-1", "an_image_says_what_is_run", command, "'--command'"),
    ("ch04-commit-2", "an_image_has_a_second_name", tag, "'tag'"),
    ("ch04-commit-3", "of_many_layers_one_is_made", squash, "'squash'"),
];

fn tmp(room: &mut Room) -> Outcome {
    let ended = room.run(&["grep", " /tmp tmpfs ", "/proc/mounts"]).end()?;
    ended.succeeds()
}

fn etc_hostname(room: &mut Room) -> Outcome {
    let run = room.run(&["cat", "/etc/hostname"]);
    run.flags(&["--hostname", "box"]).end()?.prints("box\n")
}

fn upper(room: &mut Room) -> Outcome {
    let kept = room.directory("kept");
    let flags = ["--upper", &kept.to_string_lossy()];
    room.sh("echo one > /root/file").flags(&flags).end()?.succeeds()?;
    room.run(&["cat", "/root/file"]).flags(&flags).end()?.prints("one\n")
}

fn told(room: &mut Room) -> Outcome {
    let ended = room.run(&["touch", "/root/file"]).flags(&["--changes"]).end()?;
    ended.succeeds()?;
    let there = ended.err.lines().any(|line| line == "A /root/file");
    ended.so(there, "\"A /root/file\" on standard error")
}

fn layer(room: &mut Room) -> Outcome {
    let above = room.directory("above");
    fs::create_dir(above.join("srv")).expect("mkdir(2)");
    fs::write(above.join("srv/page"), "hello\n").expect("write(2)");
    let flags = ["--layer", &above.to_string_lossy()];
    room.run(&["cat", "/srv/page"]).flags(&flags).end()?.prints("hello\n")
}

fn nosuid(room: &mut Room) -> Outcome {
    let host = room.directory("volume");
    let spec = format!("{}:/mnt:nosuid", host.display());
    let run = room.run(&["grep", " /mnt ", "/proc/mounts"]);
    let ended = run.flags(&["-v", &spec]).end()?;
    ended.succeeds()?;
    ended.so(ended.out.contains("nosuid"), "a mount with the option nosuid")
}

fn tmpfs(room: &mut Room) -> Outcome {
    let run = room.run(&["grep", "-c", " /scratch tmpfs ", "/proc/mounts"]);
    run.flags(&["--tmpfs", "/scratch"]).end()?.prints("1\n")
}

fn rslave(room: &mut Room) -> Outcome {
    let host = room.directory("volume");
    let at = room.directory("volume/later");
    let spec = format!("{}:/mnt:rslave", host.display());
    later_mount(room, &at, "/mnt/later", &["-v", &spec])
}

/// With an image `first` of a container that ran this, see what else can be done.
fn committed(room: &Room, script: &str, then: impl FnOnce() -> Outcome) -> Outcome {
    let run = ["run", "--name", "one", "busybox", "sh", "-c", script];
    room.words(&run).end()?.succeeds()?;
    let made = room.words(&["commit", "one", "first"]).end();
    let outcome = made.and_then(|made| made.succeeds()).and_then(|()| then());
    // What is there still, this check made.
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
        // What the command line says comes first, still.
        let words = ["run", "--rm", "second", "echo", "other"];
        room.words(&words).end()?.prints("other\n")
    })
}

fn tag(room: &mut Room) -> Outcome {
    let layers = || fs::read_dir(room.lab.state().join("layers")).unwrap().count();
    committed(room, "echo text > /file", || {
        let before = layers();
        room.words(&["tag", "first", "second"]).end()?.succeeds()?;
        let after = layers();
        so(
            after == before,
            "no more layers than before",
            format!("{after} of {before}"),
        )?;
        room.words(&["rmi", "first"]).end()?.succeeds()?;
        let words = ["run", "--rm", "second", "cat", "/file"];
        room.words(&words).end()?.prints("text\n")
    })
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
