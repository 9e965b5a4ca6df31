//! The exercises of chapter 4 up to the volumes.

use std::fs;

use super::{later_mount, read_only};
use crate::Entry;
use crate::outcome::Outcome;
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("ch04-pivot-root-1", "read_only_refuses_writes", read_only, "'--read-only'"),
    ("ch04-pivot-root-2", "tmp_is_a_tmpfs", tmp, "\"\", exit code 1"),
    (
        "ch04-pivot-root-3",
        "etc_hostname_contains_the_hostname",
        etc_hostname,
        "exit code 1",
    ),
    ("ch04-overlay-1", "upper_keeps_the_write_layer", upper, "'--upper'"),
    ("ch04-overlay-2", "changes_lists_the_written_files", told, "'--changes'"),
    ("ch04-overlay-3", "layer_adds_a_directory_above_the_image", layer, "'--layer'"),
    ("ch04-volume-1", "a_volume_can_be_mounted_nosuid", nosuid, "neither ro nor rw"),
    ("ch04-volume-2", "tmpfs_mounts_a_directory_in_memory", tmpfs, "'--tmpfs'"),
    (
        "ch04-volume-3",
        "rslave_makes_a_later_mount_visible",
        rslave,
        "neither ro nor rw",
    ),
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
