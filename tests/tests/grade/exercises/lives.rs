//! The exercises of chapter 5 about listing, ending and removing.

use std::fs;

use blackbox::living;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Entry;
use crate::outcome::{Outcome, Trouble};
use crate::room::Room;
use crate::running::Running;

pub(super) const ALL: &[Entry] = &[
    (
        "ch05-ps-1",
        "filter_shows_only_containers_with_the_name",
        ps_filter,
        "'--filter'",
    ),
    ("ch05-ps-2", "last_shows_the_newest_container", ps_last, "'--last'"),
    ("ch05-ps-3", "wide_shows_the_image", ps_wide, "'--wide'"),
    ("ch05-stop-1", "stop_sends_another_signal", stop_by, "'-s'"),
    ("ch05-stop-2", "stop_all_stops_all_containers", stop_all, "'--all'"),
    (
        "ch05-stop-3",
        "wait_any_prints_the_first_container_that_ends",
        wait_any,
        "'--any'",
    ),
    ("ch05-rm-1", "prune_dead_keeps_ended_containers", prune_dead, "'--dead'"),
    ("ch05-rm-2", "rm_all_removes_all_ended_containers", rm_all, "'--all'"),
    ("ch05-rm-3", "prune_keep_keeps_the_newest_containers", prune_keep, "'--keep'"),
];

/// Run containers of these names to their ends.
fn ended(room: &Room, names: &[&str]) -> Outcome {
    names.iter().try_for_each(|name| {
        room.words(&["run", "--name", name, "busybox", "true"]).end()?.succeeds()
    })
}

/// Start a container that ends on SIGTERM or SIGQUIT.
fn lives<'a>(room: &'a Room, name: &str) -> Result<Running<'a>, Trouble> {
    let script = "trap 'exit 4' TERM; trap 'exit 5' QUIT; echo up; \
                  while :; do sleep 0.1; done";
    let words = ["run", "--name", name, "busybox", "sh", "-c", script];
    let mut running = room.words(&words).start()?;
    running.prints("up\n")?;
    Ok(running)
}

/// End all containers of this check, and remove them. An earlier failure is reported
/// rather than a failure of this clean-up.
fn tidy(room: &Room, running: Vec<Running>, outcome: Outcome) -> Outcome {
    for (pid, name) in living() {
        if name == "sh" || name == "sleep" {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    for one in running {
        let _ = one.end();
    }
    // Each chapter from ch04-image on has `rm`, whichever exercise changed it.
    let names = fs::read_dir(room.lab.state().join("containers"));
    for id in names.into_iter().flatten().flatten() {
        let id = id.file_name().to_string_lossy().into_owned();
        room.words(&["rm", &id]).end()?.succeeds()?;
    }
    outcome
}

fn ps_filter(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["web", "other", "wed"]).and_then(|()| {
        let seen = room.words(&["ps", "-a", "--filter", "name=we"]).end()?;
        let right = ["web", "wed"].iter().all(|it| seen.out.contains(it));
        seen.so(right && !seen.out.contains("other"), "web and wed, and not other")
    });
    tidy(room, Vec::new(), outcome)
}

fn ps_last(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]).and_then(|()| {
        // The second container must be created in another second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        ended(room, &["two"])?;
        let seen = room.words(&["ps", "--last", "1"]).end()?;
        let right = seen.out.contains("two") && !seen.out.contains("one");
        seen.so(right, "two, and not one")
    });
    tidy(room, Vec::new(), outcome)
}

fn ps_wide(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]).and_then(|()| {
        let seen = room.words(&["ps", "-a", "--wide"]).end()?;
        let right = seen.out.contains("IMAGE") && seen.out.contains("busybox");
        seen.so(right, "a column IMAGE")
    });
    tidy(room, Vec::new(), outcome)
}

fn stop_by(room: &mut Room) -> Outcome {
    let running = lives(room, "one")?;
    let stopped = room.words(&["stop", "-s", "QUIT", "one"]).end();
    let outcome = stopped.and_then(|ended| {
        ended.prints("one\n")?;
        room.words(&["wait", "one"]).end()?.prints("5\n")
    });
    tidy(room, vec![running], outcome)
}

fn stop_all(room: &mut Room) -> Outcome {
    let running = vec![lives(room, "one")?, lives(room, "two")?];
    let stopped = room.words(&["stop", "--all"]).end();
    let outcome = stopped.and_then(|ended| {
        ended.succeeds()?;
        room.words(&["wait", "one", "two"]).end()?.prints("4\n4\n")
    });
    tidy(room, running, outcome)
}

fn wait_any(room: &mut Room) -> Outcome {
    let running = vec![lives(room, "one")?, lives(room, "two")?];
    let outcome = room.words(&["stop", "two"]).end().and_then(|_| {
        room.words(&["wait", "--any", "one", "two"]).end()?.prints("two\n")
    });
    tidy(room, running, outcome)
}

fn prune_dead(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]).and_then(|()| {
        let running = lives(room, "two")?;
        let host = Pid::from_raw(running.pid());
        kill(host, Signal::SIGKILL).expect("kill(2)");
        let _ = running.end();
        room.words(&["prune", "--dead"]).end()?.prints("two\n")
    });
    tidy(room, Vec::new(), outcome)
}

fn rm_all(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]);
    let running = vec![lives(room, "two")?];
    let outcome = outcome.and_then(|()| {
        let removed = room.words(&["rm", "--all"]).end()?;
        removed.so(removed.out == "one\n", "one removed, and two not")
    });
    tidy(room, running, outcome)
}

fn prune_keep(room: &mut Room) -> Outcome {
    let outcome = ended(room, &["one"]).and_then(|()| {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        ended(room, &["two"])?;
        room.words(&["prune", "--keep", "1"]).end()?.prints("one\n")
    });
    tidy(room, Vec::new(), outcome)
}
