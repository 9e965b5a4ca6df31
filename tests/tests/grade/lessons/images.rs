//! The checks of the tasks of chapter 4: volumes, images, and archives of images.

mod archives;
mod commits;
mod paths;
mod saved;
mod stores;

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Entry;
use crate::lessons::groups::own_group;
use crate::outcome::{Outcome, so};
use crate::room::{Room, wait_within};
use crate::running::Running;

/// All the checks, in the order of the book.
pub(super) fn all() -> impl Iterator<Item = &'static Entry> {
    let parts = [paths::ALL, stores::ALL, commits::ALL, archives::ALL, saved::ALL];
    parts.into_iter().flatten()
}

/// Run the program with these arguments: it must succeed.
fn ok(room: &Room, words: &[&str]) -> Outcome {
    room.words(words).end()?.succeeds()
}

/// Run a script in a container of this image, whose name is `one`. It stays.
fn one(room: &Room, image: &str, script: &str) -> Outcome {
    ok(room, &["run", "--name", "one", image, "sh", "-c", script])
}

/// The output of a script in a new container of this image, which is removed then.
fn inside(room: &Room, image: &str, script: &str, expected: &str) -> Outcome {
    room.words(&["run", "--rm", image, "sh", "-c", script]).end()?.prints(expected)
}

/// Remove the containers and images of a check, whatever its outcome is.
fn tidy(room: &Room, outcome: Outcome) -> Outcome {
    for name in ["one", "two"] {
        room.words(&["rm", name]).end()?;
    }
    for name in ["first", "second"] {
        room.words(&["rmi", name]).end()?;
    }
    outcome
}

/// The number of layers in the state directory, finished or not.
fn layers(room: &Room) -> usize {
    fs::read_dir(room.lab.state().join("layers")).expect("readdir(3)").count()
}

/// The store has as many layers as before.
fn same_layers(room: &Room, before: usize) -> Outcome {
    let after = layers(room);
    let expected = format!("{before} layers, as before");
    so(after == before, &expected, format!("{after} layers"))
}

/// A running container whose write layer takes some time to copy. It is frozen while the
/// program runs with the arguments `words`, and runs on afterwards. With `kill`, the
/// program is killed when it has frozen the container.
fn frozen_during(room: &Room, words: &[&str], kill: bool) -> Outcome {
    // Shell builtins: no process is started for a file.
    let script = "mkdir /many; i=0; while test $i -lt 400; do echo $i > /many/$i; \
                  i=$((i + 1)); done; echo ready; exec sleep 1000";
    let run = ["run", "--name", "one", "busybox", "sh", "-c", script];
    let mut running = room.words(&run).start()?;
    let outcome = running.prints("ready").and_then(|()| {
        let pid = running.has("sleep")?;
        let events = own_group(pid)?.join("cgroup.events");
        let state = || {
            fs::read_to_string(&events).is_ok_and(|text| text.contains("frozen 1"))
        };
        let mut program = room.words(words).start()?;
        let outcome = watch(&mut program, &state, kill);
        program.kill();
        outcome
    });
    running.stop();
    outcome
}

/// The time within which a container is frozen, and thawed again.
const LIMIT: Duration = Duration::from_secs(15);

fn watch(
    program: &mut Running,
    is_frozen: &impl Fn() -> bool,
    kill: bool,
) -> Outcome {
    let mut seen = false;
    let end = Instant::now() + LIMIT;
    while !(program.has_ended() || kill && seen || Instant::now() > end) {
        seen |= is_frozen();
        sleep(Duration::from_micros(200));
    }
    let expected = "the container frozen while its files are read";
    so(seen, expected, "it was never frozen")?;
    if kill {
        program.kill();
    }
    let thawed = wait_within(LIMIT, || (!is_frozen()).then_some(()));
    let expected = match kill {
        true => "the container thawed after the program was killed",
        false => "the container thawed at the end",
    };
    so(thawed.is_some(), expected, "it is still frozen")
}
