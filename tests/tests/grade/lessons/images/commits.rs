//! The checks of ch04-commit: a write layer becomes a layer of an image.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::getxattr;

use super::{frozen_during, inside, layers, ok, one, same_layers, tidy};
use crate::Entry;
use crate::lessons::whiteout::is_whiteout;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("commit", "written_files_are_in_the_image", written, ""),
    ("commit", "a_removed_file_is_a_whiteout_in_the_layer", whiteout, ""),
    ("commit", "a_replaced_directory_is_opaque_in_the_layer", opaque, ""),
    ("commit", "the_container_is_frozen_during_the_copy", frozen, ""),
    ("commit", "a_killed_commit_thaws_the_container", killed, ""),
    ("commit", "a_second_commit_replaces_the_image", replaced, ""),
    ("commit", "a_name_in_use_is_refused_with_no_replace", no_replace, ""),
];

/// Run a script, commit the container, and call `then` with the new layer.
fn committed(
    room: &Room,
    script: &str,
    then: impl FnOnce(PathBuf) -> Outcome,
) -> Outcome {
    let outcome = one(room, "busybox", script).and_then(|()| {
        ok(room, &["commit", "one", "first"])?;
        let top = room.lab.layers("first").swap_remove(0);
        then(room.lab.state().join("layers").join(top))
    });
    tidy(room, outcome)
}

fn written(room: &mut Room) -> Outcome {
    committed(room, "echo text > /file; ln /file /same", |layer| {
        inside(room, "first", "cat /file /same", "text\ntext\n")?;
        let links = fs::metadata(layer.join("file")).map_or(0, |it| it.nlink());
        so(links == 2, "a file with two links", format!("{links} links"))
    })
}

fn whiteout(room: &mut Room) -> Outcome {
    committed(room, "rm /etc/passwd", |layer| {
        is_whiteout(&layer.join("etc/passwd"))?;
        inside(room, "first", "test -e /etc/passwd || echo gone", "gone\n")
    })
}

fn opaque(room: &mut Room) -> Outcome {
    committed(room, "rm -r /etc; mkdir /etc; echo > /etc/new", |layer| {
        let mut value = [0; 8];
        let name = "trusted.overlay.opaque";
        let length = getxattr(layer.join("etc"), name, &mut value[..]);
        let value = &value[..length.unwrap_or(0)];
        let expected = format!("the attribute {name} with the value \"y\"");
        let actual = format!("{:?}", String::from_utf8_lossy(value));
        so(value == b"y", &expected, actual)?;
        inside(room, "first", "ls /etc", "new\n")
    })
}

fn frozen(room: &mut Room) -> Outcome {
    let outcome = frozen_during(room, &["commit", "one", "first"], false);
    tidy(room, outcome)
}

fn killed(room: &mut Room) -> Outcome {
    let outcome = frozen_during(room, &["commit", "one", "first"], true);
    // This removes the unfinished layer.
    let outcome = outcome.and(ok(room, &["commit", "one", "first"]));
    tidy(room, outcome)
}

fn replaced(room: &mut Room) -> Outcome {
    let outcome = one(room, "busybox", "echo one > /file").and_then(|()| {
        ok(room, &["commit", "one", "first"])?;
        let count = layers(room);
        ok(room, &["rm", "one"])?;
        one(room, "busybox", "echo two > /file")?;
        ok(room, &["commit", "one", "first"])?;
        inside(room, "first", "cat /file", "two\n")?;
        // The layer of the first image is removed, and no unfinished layer is left.
        same_layers(room, count)
    });
    tidy(room, outcome)
}

fn no_replace(room: &mut Room) -> Outcome {
    committed(room, "echo one > /file", |_| {
        let count = layers(room);
        let words = ["commit", "--no-replace", "one", "first"];
        room.words(&words).end()?.exits(125)?;
        inside(room, "first", "cat /file", "one\n")?;
        same_layers(room, count)
    })
}
