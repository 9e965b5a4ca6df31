//! The exercises of chapter 5 about an init process and attached clients.

use std::thread::sleep;
use std::time::Duration;

use super::{env, stop};
use crate::Entry;
use crate::outcome::Outcome;
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("ch05-init-1", "no_init_makes_the_program_pid_1", no_init, "'--no-init'"),
    ("ch05-init-2", "wait_all_waits_for_the_last_process", wait_all, "'--wait-all'"),
    (
        "ch05-init-3",
        "signal_all_signals_every_process",
        signal_all,
        "'--signal-all'",
    ),
    (
        "ch05-attach-1",
        "attach_without_a_name_uses_the_newest_container",
        newest,
        "required arguments",
    ),
    ("ch05-attach-2", "logs_shows_the_earlier_output", with_logs, "'--logs'"),
    ("ch05-attach-3", "timeout_ends_the_attach_in_time", timeout, "'--timeout'"),
];

fn no_init(room: &mut Room) -> Outcome {
    env(room, &["--no-init"], "echo $$").end()?.prints("1\n")?;
    env(room, &[], "echo $$").end()?.prints("2\n")
}

fn wait_all(room: &mut Room) -> Outcome {
    let script = "(sleep 1; echo late) & exit 3";
    let ended = env(room, &["--init", "--wait-all"], script).end()?;
    ended.exits(3)?;
    ended.so(ended.out == "late\n", "\"late\"")
}

fn signal_all(room: &mut Room) -> Outcome {
    let script = "(trap 'echo child; exit' TERM; while :; do sleep 0.1; done) &
        trap 'sleep 1; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let flags = ["--init", "--signal-all", "--name", "one"];
    let mut running = env(room, &flags, script).start()?;
    running.prints("ready\n")?;
    // Meanwhile, the shell in the background sets its trap.
    sleep(Duration::from_millis(300));
    let killed = room.words(&["kill", "-s", "TERM", "one"]).end();
    let told = running.prints("ready\nchild\n");
    stop(running);
    killed?.succeeds()?;
    told
}

/// Start a detached container named `one`, and remove it after `then`.
fn detached(room: &Room, script: &str, then: impl FnOnce() -> Outcome) -> Outcome {
    let words = ["run", "-d", "--name", "one", "busybox", "sh", "-c", script];
    room.words(&words).end()?.succeeds()?;
    let outcome = then();
    room.words(&["rm", "-f", "one"]).end()?;
    outcome
}

fn newest(room: &mut Room) -> Outcome {
    detached(room, "sleep 1; echo out; exit 3", || {
        let ended = room.words(&["attach"]).end()?;
        ended.exits(3)?;
        ended.so(ended.out == "out\n", "\"out\"")
    })
}

fn with_logs(room: &mut Room) -> Outcome {
    detached(room, "echo before; sleep 2; echo after", || {
        sleep(Duration::from_millis(500));
        let ended = room.words(&["attach", "--logs", "one"]).end()?;
        ended.prints("before\nafter\n")
    })
}

fn timeout(room: &mut Room) -> Outcome {
    detached(room, "sleep 1000", || {
        room.words(&["attach", "--timeout", "1", "one"]).end()?.succeeds()?;
        room.words(&["ps", "-q"]).end()?.succeeds()
    })
}
