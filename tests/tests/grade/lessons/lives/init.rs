//! `--init`: an init process as PID 1.

use std::thread::sleep;
use std::time::Duration;

use blackbox::living;
use nix::sys::signal::Signal;

use super::one::{One, PATIENCE, until};
use crate::ended::Ended;
use crate::outcome::{Outcome, Trouble, so};
use crate::process::{field, link};
use crate::room::Room;

/// Run a script to its end under an init process.
fn script(room: &Room, script: &str) -> Result<Ended, Trouble> {
    let run = ["run", "--rm", "--init", "busybox", "sh", "-c", script];
    room.words(&run).start()?.end_within(PATIENCE)
}

pub(super) fn number(room: &mut Room) -> Outcome {
    let _one = One::guard(room);
    script(room, "echo $$, child of $PPID")?.prints("2, child of 1\n")
}

pub(super) fn exit_status(room: &mut Room) -> Outcome {
    let _one = One::guard(room);
    script(room, "exit 7")?.exits(7)?;
    script(room, "kill -9 $$")?.exits(137)
}

pub(super) fn signal(room: &mut Room) -> Outcome {
    let script = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.1; done";
    let one = One::detached(room, &["--init"], script)?;
    let ready = || room.log().ends_with(" ready\n");
    until("a program that has set its trap", || room.log(), ready)?;
    one.signal(Signal::SIGUSR1)?;
    // A signal that is not forwarded lets the program run.
    let runs = || "the program runs on".to_owned();
    until("PID 1 forwards SIGUSR1 to the program", runs, || {
        // Only the first process of the container has this parent.
        living().into_values().all(|name| name != "sh" && name != "sleep")
    })?;
    room.words(&["wait", "one"]).end()?.prints("5\n")
}

/// The zombies among the processes in the PID namespace of this process.
fn zombies(of: i32) -> usize {
    let namespace = link(of, "ns/pid");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|it| it.file_name().to_str()?.parse().ok());
    pids.filter(|&pid: &i32| {
        field(pid, "State").starts_with('Z') && link(pid, "ns/pid") == namespace
    })
    .count()
}

pub(super) fn orphans(room: &mut Room) -> Outcome {
    // Ten processes whose parents end before they do.
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.3 &); done; \
                  echo ready; exec sleep 1000";
    let one = One::detached(room, &["--init"], script)?;
    let pid = one.pid()?;
    let ready = || room.log().ends_with(" ready\n");
    until("a program that has made orphans", || room.log(), ready)?;
    sleep(Duration::from_secs(1));
    let sleeping = || living().into_values().filter(|name| name == "sleep").count();
    until(
        "PID 1 reaps the processes that lost their parents: the program runs, and there \
         are no zombies",
        || format!("{} of 1 programs and {} zombies", sleeping(), zombies(pid)),
        || sleeping() == 1 && zombies(pid) == 0,
    )
}

pub(super) fn closed(room: &mut Room) -> Outcome {
    let one = One::detached(room, &["--init"], "exec sleep 1000")?;
    let pid = one.pid()?;
    let open = || -> Vec<String> {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
    };
    until(
        "PID 1 has closed all its files: the pipes of the program end with it",
        || format!("these descriptors are open: {:?}", open()),
        || open().is_empty(),
    )
}

/// The PID of the program is noted, so `exec` joins the program's namespaces, not those of PID
/// 1.
pub(super) fn noted(room: &mut Room) -> Outcome {
    let one = One::detached(room, &["--init"], "exec sleep 1000")?;
    let mut program = 0;
    until(
        "the program sleep in the container",
        || "none".to_owned(),
        || {
            let is_sleep = |(_, name): &(i32, String)| name == "sleep";
            let found = living().into_iter().find(is_sleep);
            program = found.map_or(0, |(pid, _)| pid);
            program != 0
        },
    )?;
    let locks = one.files().into_iter();
    let lock =
        locks.filter(|it| it.parent().is_some_and(|it| it.ends_with("running")));
    let notes: String =
        lock.filter_map(|it| std::fs::read_to_string(it).ok()).collect();
    let noted = notes.lines().any(|line| {
        line.starts_with("program ")
            && line.split(' ').any(|word| word == program.to_string())
    });
    so(
        noted,
        &format!("the program {program} among the notes in the lock file"),
        format!("{notes:?}"),
    )
}

pub(super) fn session(room: &mut Room) -> Outcome {
    let one = One::detached(room, &["--init"], "exec sleep 1000")?;
    let pid = one.pid()?;
    let session = || crate::process::stat(pid).get(3).cloned().unwrap_or_default();
    until(
        "PID 1 has a session of its own",
        || format!("it is in the session {}", session()),
        || session() == pid.to_string(),
    )
}
