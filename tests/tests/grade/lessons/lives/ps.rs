//! `ps`: the status of each container.

use std::fs::File;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::one::One;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::Room;

/// The only container of `ps -a --json`.
fn only(room: &Room) -> Result<Value, Trouble> {
    let ended = room.words(&["ps", "-a", "--json"]).end()?;
    ended.succeeds()?;
    let all: Vec<Value> = serde_json::from_str(&ended.out).unwrap_or_default();
    match <[Value; 1]>::try_from(all) {
        Ok([one]) => Ok(one),
        Err(all) => Err(Trouble::fail(
            "one container in the list of `ps -a --json`",
            format!("{} containers", all.len()),
        )),
    }
}

fn has(one: &Value, key: &str, expected: &Value) -> Outcome {
    so(
        one[key] == *expected,
        &format!("{key}: {expected}"),
        format!("{key}: {}", one[key]),
    )
}

pub(super) fn running(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], "exec sleep 1000")?;
    let seen = only(room)?;
    has(&seen, "status", &"running".into())?;
    has(&seen, "pid", &one.pid()?.into())
}

pub(super) fn ended(room: &mut Room) -> Outcome {
    let _one = One::ended(room, &[], "exit 3")?;
    let seen = only(room)?;
    has(&seen, "status", &"exited".into())?;
    has(&seen, "code", &3.into())?;
    room.words(&["ps", "-q"]).end()?.prints("")
}

/// Start a container, and kill its supervisor.
fn orphaned(room: &Room) -> Result<One<'_>, Trouble> {
    let one = One::detached(room, &[], "exec sleep 1000")?;
    let supervisor = Pid::from_raw(one.supervisor()?);
    kill(supervisor, Signal::SIGKILL).expect("kill(2)");
    one.ends()?;
    Ok(one)
}

pub(super) fn dead(room: &mut Room) -> Outcome {
    let _one = orphaned(room)?;
    has(&only(room)?, "status", &"dead".into())?;
    // A later run cleans up, and records that no process saw the end.
    room.words(&["run", "--rm", "busybox", "true"]).end()?.succeeds()?;
    has(&only(room)?, "status", &"dead".into())
}

pub(super) fn two_lists(room: &mut Room) -> Outcome {
    let one = orphaned(room)?;
    // Another `ps` looks at the same lock at this moment.
    let files: Vec<_> = one.files().into_iter().filter(|it| it.is_file()).collect();
    let files: Vec<_> = files.iter().filter_map(|it| File::open(it).ok()).collect();
    files.iter().for_each(|file| file.lock_shared().expect("flock(2)"));
    has(&only(room)?, "status", &"dead".into())
}

pub(super) fn newest_first(room: &mut Room) -> Outcome {
    let _one = One::ended(room, &[], "true")?;
    // The time of a container is in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let two = ["run", "-d", "--name", "two", "busybox", "sleep", "1000"];
    room.words(&two).end()?.succeeds()?;
    let ended = room.words(&["ps", "-a", "--json"]).end()?;
    let all: Vec<Value> = serde_json::from_str(&ended.out).unwrap_or_default();
    let names: Vec<_> = all.iter().filter_map(|it| it["name"].as_str()).collect();
    so(names == ["two", "one"], "two, and then one", format!("{names:?}"))?;
    let ended = room.words(&["ps", "--json"]).end()?;
    let right = ended.out.contains("\"two\"") && !ended.out.contains("\"one\"");
    ended.so(right, "without -a, only the running container")
}
