//! `stop`, `kill` and `wait`.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::one::{One, PATIENCE, until};
use crate::outcome::{Outcome, Trouble, so};
use crate::process::groups;
use crate::room::Room;

/// Start a container with this trap and this flag, and wait until the trap is set.
fn trapping<'a>(
    room: &'a Room,
    flags: &[&str],
    trap: &str,
) -> Result<One<'a>, Trouble> {
    let script = format!("trap {trap}; echo ready; while :; do sleep 0.1; done");
    let one = One::detached(room, flags, &script)?;
    let ready = || room.log().ends_with(" ready\n");
    until("a program that has set its trap", || room.log(), ready)?;
    Ok(one)
}

/// `wait` prints this exit status.
fn waits(room: &Room, code: &str) -> Outcome {
    let ended = room.words(&["wait", "one"]).start()?.end_within(PATIENCE)?;
    let right = ended.code == 0 && ended.out == format!("{code}\n");
    ended.so(right, &format!("`wait` prints {code} (137 means SIGKILL)"))
}

pub(super) fn signal(room: &mut Room) -> Outcome {
    let _one = trapping(room, &[], "'exit 5' USR1")?;
    room.words(&["kill", "-s", "USR1", "one"]).end()?.prints("one\n")?;
    waits(room, "5")
}

pub(super) fn no_process(room: &mut Room) -> Outcome {
    let _one = One::ended(room, &[], "exit 4")?;
    let ended = room.words(&["kill", "one"]).end()?;
    let refused = ended.code != 0 && ended.err.contains("not running");
    ended.so(refused, "an error: the container is not running")
}

pub(super) fn patience(room: &mut Room) -> Outcome {
    let _one = trapping(room, &[], "'sleep 1; exit 3' TERM")?;
    let (start, limit) = (Instant::now(), Duration::from_secs(15));
    room.words(&["stop", "-t", "20", "one"]).end()?.prints("one\n")?;
    let seconds = start.elapsed().as_secs();
    waits(room, "3")?;
    so(
        start.elapsed() < limit,
        "`stop -t 20` returns as soon as the program has ended, after about 1 s",
        format!("it returned after {seconds} s"),
    )
}

pub(super) fn deaf(room: &mut Room) -> Outcome {
    let _one = trapping(room, &[], "'' TERM")?;
    let start = Instant::now();
    room.words(&["stop", "-t", "1", "one"]).end()?.prints("one\n")?;
    let elapsed = start.elapsed();
    waits(room, "137")?;
    so(
        elapsed >= Duration::from_millis(900),
        "`stop -t 1` waits for 1 s before SIGKILL",
        format!("it waited for {} ms", elapsed.as_millis()),
    )
}

pub(super) fn frozen(room: &mut Room) -> Outcome {
    let one = trapping(room, &[], "'exit 3' TERM")?;
    let freezers = groups(one.pid()?);
    let files = [("cgroup.freeze", "1"), ("freezer.state", "FROZEN")];
    let frozen = freezers.iter().any(|group| {
        files.iter().any(|(name, word)| {
            let file = group.join(name);
            file.exists() && fs::write(file, word).is_ok()
        })
    });
    if !frozen {
        return Err(Trouble::skip("the container has no cgroup that can be frozen"));
    }
    room.words(&["stop", "-t", "5", "one"]).end()?.prints("one\n")?;
    waits(room, "3")
}

pub(super) fn cleaned_up(room: &mut Room) -> Outcome {
    let one = trapping(room, &["--rm"], "'exit 6' USR1")?;
    let group = groups(one.pid()?);
    let waiting = room.words(&["wait", "one"]).start()?;
    // Meanwhile, `wait` finds the container.
    std::thread::sleep(Duration::from_millis(500));
    one.signal(Signal::SIGUSR1)?;
    waiting.end_within(PATIENCE)?.prints("6\n")?;
    let mut left = one.files();
    let own = groups(std::process::id().cast_signed());
    left.extend(group.into_iter().filter(|it| it.exists() && !own.contains(it)));
    so(
        left.is_empty(),
        "`wait` returns when the supervisor has removed everything (run --rm)",
        format!("these are left: {left:?}"),
    )
}

pub(super) fn after_the_end(room: &mut Room) -> Outcome {
    let _one = One::ended(room, &[], "exit 4")?;
    waits(room, "4")
}
