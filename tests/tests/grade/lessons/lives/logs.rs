//! `logs` and `logs -f`.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::one::{One, PATIENCE, until};
use crate::outcome::{Outcome, so};
use crate::process::stat;
use crate::room::Room;

/// Print a word, and another one after SIGUSR1.
const TWO_WORDS: &str =
    "trap 'echo second; exit' USR1; echo first; while :; do sleep 0.1; done";

/// The number of looks at the state of a process.
const SAMPLES: usize = 30;

pub(super) fn follow(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], TWO_WORDS)?;
    let mut logs = room.words(&["logs", "-f", "one"]).start()?;
    logs.prints("first\n")?;
    one.signal(Signal::SIGUSR1)?;
    logs.prints("second\n")?;
    // It ends together with the container.
    logs.end_within(PATIENCE)?.prints("first\nsecond\n")
}

pub(super) fn many(room: &mut Room) -> Outcome {
    let script = "trap 'i=0; while [ $i -lt 3000 ]; do echo line $i; \
                  i=$((i + 1)); done; exit' USR1; echo first; \
                  while :; do sleep 0.1; done";
    let one = One::detached(room, &[], script)?;
    let mut logs = room.words(&["logs", "-f", "one"]).start()?;
    logs.prints("first\n")?;
    one.signal(Signal::SIGUSR1)?;
    let ended = logs.end_within(PATIENCE)?;
    let count = ended.out.lines().count();
    let last = ended.out.lines().last().unwrap_or_default().to_owned();
    let all = count == 3001 && last == "line 2999";
    so(
        all,
        "3001 lines, until the container has ended",
        format!("{count} lines, the last one is {last:?}"),
    )
}

pub(super) fn idle(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], TWO_WORDS)?;
    let mut logs = room.words(&["logs", "-f", "one"]).start()?;
    logs.prints("first\n")?;
    // On a busy machine, a process that polls all the time uses little processor time, but
    // it is never asleep.
    let asleep = (0..SAMPLES).filter(|_| {
        sleep(Duration::from_millis(50));
        stat(logs.pid()).first().is_some_and(|state| state == "S")
    });
    let asleep = asleep.count();
    one.signal(Signal::SIGUSR1)?;
    logs.end_within(PATIENCE)?.prints("first\nsecond\n")?;
    so(
        asleep >= SAMPLES * 3 / 4,
        "`logs -f` sleeps while there is no output",
        format!("it was asleep in {asleep} of {SAMPLES} looks at /proc/PID/stat"),
    )
}

pub(super) fn streams(room: &mut Room) -> Outcome {
    let _one = One::ended(room, &[], "echo out; echo err >&2")?;
    let ended = room.words(&["logs", "one"]).end()?;
    ended.prints("out\n")?;
    ended.so(ended.err == "err\n", "\"err\" on standard error")
}

pub(super) fn whole_lines(room: &mut Room) -> Outcome {
    let script = "trap 'echo \" and more\"; exit' USR1; printf half; \
                  while :; do sleep 0.1; done";
    let one = One::detached(room, &[], script)?;
    until("half a line in the log", || room.log(), || room.log().contains("half"))?;
    one.signal(Signal::SIGUSR1)?;
    one.ends()?;
    room.words(&["logs", "one"]).end()?.prints("half and more\n")?;
    let ended = room.words(&["logs", "-t", "one"]).end()?;
    let times = ended.out.matches('Z').count();
    let right = times == 1 && ended.out.ends_with("Z half and more\n");
    ended.so(right, "with -t, one time at the beginning of the line")
}

pub(super) fn since(room: &mut Room) -> Outcome {
    let _one = One::ended(room, &[], "echo early")?;
    let later = ["logs", "--since", "2999-01-01T00:00:00Z", "one"];
    room.words(&later).end()?.prints("")?;
    room.words(&["logs", "--since", "10m", "one"]).end()?.prints("early\n")
}
