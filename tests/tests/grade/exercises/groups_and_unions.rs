//! The exercises of chapter 2 about cgroups and unions.

use std::fs;

use super::stop;
use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("ch02-cgroups-1", "peak_prints_the_highest_memory_use", peak, "'--peak'"),
    ("ch02-cgroups-2", "kill_ends_all_processes_of_a_group", kill_group, "'kill'"),
    ("ch02-cgroups-3", "stats_json_prints_json", stats_json, "'--json'"),
    ("ch02-union-1", "changes_lists_the_changes_of_a_layer", changes, "'changes'"),
    ("ch02-union-2", "read_only_refuses_writes", union_ro, "'--read-only'"),
    (
        "ch02-union-3",
        "volatile_mounts_the_layer_without_sync",
        volatile,
        "'--volatile'",
    ),
];

fn peak(room: &mut Room) -> Outcome {
    room.words(&["create", "grade-demo"]).end()?.succeeds()?;
    room.words(&["exec", "grade-demo", "true"]).end()?.succeeds()?;
    let ended = room.words(&["delete", "--peak", "grade-demo"]).end()?;
    if ended.code != 0 {
        room.words(&["delete", "grade-demo"]).end()?.succeeds()?;
    }
    ended.succeeds()?;
    let number =
        ended.err.lines().find_map(|line| line.strip_prefix("memory.peak "));
    let number: Option<u64> = number.and_then(|text| text.trim().parse().ok());
    ended.so(number.is_some_and(|n| n > 0), "\"memory.peak N\" on standard error")
}

fn kill_group(room: &mut Room) -> Outcome {
    room.words(&["create", "grade-demo"]).end()?.succeeds()?;
    let mut running =
        room.words(&["exec", "grade-demo", "sleep", "1000"]).start()?;
    running.has("sleep")?;
    let killed = room.words(&["kill", "grade-demo"]).end();
    let gone = killed.as_ref().is_ok_and(|it| it.code == 0) && room.gone("sleep");
    stop(running);
    room.words(&["delete", "grade-demo"]).end()?.succeeds()?;
    killed?.succeeds()?;
    so(gone, "nobody in the group", "sleep runs on")
}

fn stats_json(room: &mut Room) -> Outcome {
    room.words(&["create", "grade-demo"]).end()?.succeeds()?;
    let ended = room.words(&["stats", "--json", "grade-demo"]).end();
    room.words(&["delete", "grade-demo"]).end()?.succeeds()?;
    let ended = ended?;
    ended.succeeds()?;
    let is_json = serde_json::from_str::<serde_json::Value>(&ended.out).is_ok();
    ended.so(is_json, "JSON on standard output")
}

/// The directories of a union, and the flags for them.
fn union(room: &Room) -> Vec<String> {
    let mut flags = Vec::new();
    for name in ["lower", "upper", "work"] {
        let directory = room.directory(name);
        flags
            .extend([format!("--{name}"), directory.to_string_lossy().into_owned()]);
    }
    fs::write(room.path("lower/a"), "one\n").expect("write(2)");
    fs::write(room.path("lower/b"), "two\n").expect("write(2)");
    flags
}

fn changes(room: &mut Room) -> Outcome {
    let flags = union(room);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    room.sh("echo new > c; echo more >> a; rm b").flags(&flags).end()?.succeeds()?;
    // Without the work directory.
    let words = [&["changes"], &flags[..4]].concat();
    room.words(&words).end()?.prints("C /a\nD /b\nA /c\n")
}

fn union_ro(room: &mut Room) -> Outcome {
    let flags = union(room);
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.push("--read-only");
    let run = room.sh("cat a; touch c 2> /dev/null || echo refused");
    run.flags(&flags).end()?.prints("one\nrefused\n")
}

fn volatile(room: &mut Room) -> Outcome {
    let flags = union(room);
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.push("--volatile");
    let ended =
        room.run(&["grep", " overlay ", "/proc/mounts"]).flags(&flags).end()?;
    ended.succeeds()?;
    ended.so(ended.out.contains("volatile"), "a mount with the option volatile")
}
