//! `rm`, and what a killed supervisor leaves.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::one::{One, PATIENCE};
use crate::outcome::{Outcome, Trouble, so};
use crate::process::groups;
use crate::room::Room;

/// Nothing of a container is left in the state directory.
fn nothing_left(one: &One) -> Outcome {
    let left = one.files();
    so(
        left.is_empty(),
        "no directory, lock file and name of the container",
        format!("these are left: {left:?}"),
    )
}

pub(super) fn files(room: &mut Room) -> Outcome {
    let one = One::ended(room, &[], "echo x > /file")?;
    room.words(&["rm", "one"]).end()?.prints("one\n")?;
    nothing_left(&one)
}

pub(super) fn running(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], "exec sleep 1000")?;
    let pid = one.pid()?;
    let ended = room.words(&["rm", "one"]).end()?;
    let refused = ended.code != 0 && ended.err.contains("is running");
    ended.so(refused, "an error: the container is running")?;
    let runs = PathBuf::from(format!("/proc/{pid}")).exists();
    so(runs, "the program runs on", "it has ended")?;
    so(room.container().is_some(), "the container's directory", "it was removed")
}

pub(super) fn force(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], "exec sleep 1000")?;
    let (pid, supervisor) = (one.pid()?, one.supervisor()?);
    room.words(&["rm", "-f", "one"]).end()?.prints("one\n")?;
    // The supervisor may still be a zombie, but it must have released the lock.
    let runs = !crate::process::link(pid, "exe").is_empty();
    so(!runs, "the program was killed", "it runs")?;
    nothing_left(&one).map_err(|trouble| {
        let runs = !crate::process::link(supervisor, "exe").is_empty();
        let more = format!("{}, the supervisor runs: {runs}", trouble.actual);
        Trouble { actual: more, ..trouble }
    })
}

/// Start a container, and kill its supervisor, which cannot clean up. Returns the groups that
/// are left.
fn orphaned<'a>(
    room: &'a Room,
    flags: &[&str],
) -> Result<(One<'a>, Vec<PathBuf>), Trouble> {
    let one = One::detached(room, flags, "exec sleep 1000")?;
    let groups = groups(one.pid()?);
    let supervisor = one.supervisor()?;
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).expect("kill(2)");
    one.ends()?;
    let own = crate::process::groups(std::process::id().cast_signed());
    let of_container =
        groups.into_iter().filter(|it| it.exists() && !own.contains(it));
    Ok((one, of_container.collect()))
}

/// None of these groups exists any more.
fn no_group(groups: &[PathBuf]) -> Outcome {
    let left: Vec<_> = groups.iter().filter(|it| it.exists()).collect();
    so(
        left.is_empty(),
        "no cgroup of the container",
        format!("these are left: {left:?}"),
    )
}

pub(super) fn killed(room: &mut Room) -> Outcome {
    let (one, groups) = orphaned(room, &[])?;
    room.words(&["rm", "one"]).end()?.prints("one\n")?;
    no_group(&groups)?;
    nothing_left(&one)
}

pub(super) fn swept(room: &mut Room) -> Outcome {
    let (one, groups) = orphaned(room, &[])?;
    room.words(&["run", "--rm", "busybox", "true"]).end()?.succeeds()?;
    no_group(&groups)?;
    let names: Vec<_> = one.files();
    let lock = names
        .iter()
        .find(|it| it.parent().is_some_and(|it| it.ends_with("running")));
    so(lock.is_none(), "no lock file", format!("{lock:?}"))?;
    let kept = room.container().is_some();
    so(kept, "the container's directory, until it is removed", "it is gone")?;
    let ended = room.words(&["wait", "one"]).end()?;
    let told = ended.code != 0 && ended.err.contains("unknown");
    ended.so(told, "the exit status of the container is unknown")
}

pub(super) fn swept_with_files(room: &mut Room) -> Outcome {
    let (one, groups) = orphaned(room, &["--rm"])?;
    room.words(&["run", "--rm", "busybox", "true"]).end()?.succeeds()?;
    no_group(&groups)?;
    nothing_left(&one)
}

pub(super) fn another_sweeps(room: &mut Room) -> Outcome {
    let (one, _) = orphaned(room, &["--rm"])?;
    // Another command holds the lock while it sweeps the container.
    let lock = one.files().into_iter();
    let lock =
        lock.filter(|it| it.parent().is_some_and(|it| it.ends_with("running")));
    let files: Vec<_> = lock.filter_map(|it| std::fs::File::open(it).ok()).collect();
    files.iter().for_each(|file| file.lock().expect("flock(2)"));
    let running = room.words(&["run", "--rm", "busybox", "true"]).start()?;
    let ran = running.end_within(PATIENCE);
    let kept = room.container().is_some();
    drop(files);
    ran?.succeeds()?;
    so(kept, "a container whose lock is held stays", "it was removed")
}
