//! `run -d`: a supervisor in the background, and the log.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;

use super::one::{One, until};
use crate::outcome::{Outcome, Trouble, so};
use crate::process::{link, stat};
use crate::room::Room;

/// The position of the session in /proc/PID/stat, after PID and name.
const SESSION: usize = 3;

pub(super) fn session(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], "exec sleep 1000")?;
    let supervisor = one.supervisor()?;
    let session = stat(supervisor).get(SESSION).cloned().unwrap_or_default();
    so(
        session == supervisor.to_string(),
        &format!("the supervisor {supervisor} leads a session of its own"),
        format!("it is in the session {session}"),
    )
}

pub(super) fn released(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], "exec sleep 1000")?;
    let supervisor = one.supervisor()?;
    let seen = ["fd/0", "fd/1", "fd/2", "cwd"].map(|it| link(supervisor, it));
    so(
        seen == ["/dev/null", "/dev/null", "/dev/null", "/"],
        "the supervisor's streams are /dev/null, and its working directory is /",
        format!("{seen:?}"),
    )
}

pub(super) fn standard_input(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], "exec sleep 1000")?;
    let stdin = link(one.pid()?, "fd/0");
    so(
        stdin == "/dev/null",
        "standard input of the detached program is /dev/null",
        format!("{stdin:?}"),
    )
}

/// The entries of the log without their times.
fn entries(room: &Room) -> Vec<String> {
    let log = room.log();
    let entry = |line: &str| line.split_once(' ').map(|(_, entry)| entry.to_owned());
    log.lines().filter_map(entry).collect()
}

/// Wait until the log has an entry.
fn has_entry(one: &One, entry: &str) -> Outcome {
    let found = || entries(one.room);
    until(
        &format!("{entry:?} in the log"),
        || format!("{:?}", found()),
        || found().iter().any(|it| it == entry),
    )
}

pub(super) fn two_streams(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], "echo out; echo err >&2; exec sleep 1000")?;
    has_entry(&one, "stdout F out")?;
    has_entry(&one, "stderr F err")
}

pub(super) fn half_a_line(room: &mut Room) -> Outcome {
    // The second part is written when the first one is in the log.
    let script = "trap 'echo \" and more\"; exit' USR1; printf half; \
                  while :; do sleep 0.1; done";
    let one = One::detached(room, &[], script)?;
    has_entry(&one, "stdout P half")?;
    one.signal(Signal::SIGUSR1)?;
    one.ends()?;
    let entries = entries(room);
    so(
        entries == ["stdout P half", "stdout F:+  and more"],
        "a partial entry (P), and one that continues it (F:+)",
        format!("{entries:?}"),
    )
}

pub(super) fn last_words(room: &mut Room) -> Outcome {
    let one = One::detached(
        room,
        &[],
        "i=0; while [ $i -lt 2000 ]; do \
                                        echo line $i; i=$((i + 1)); done",
    )?;
    one.ends()?;
    // A read(2) may end within a line, whose second entry then has the tag F:+.
    let whole = |entry: &String| entry.starts_with("stdout F");
    let entries: Vec<String> = entries(room).into_iter().filter(whole).collect();
    let last = entries.last().cloned().unwrap_or_default();
    so(
        entries.len() == 2000 && last.ends_with("99"),
        "2000 lines in the log of a program that has ended",
        format!("{} lines, the last entry is {last:?}", entries.len()),
    )
}

pub(super) fn foreground(room: &mut Room) -> Outcome {
    let _one = One::guard(room);
    let run = ["run", "--name", "one", "busybox", "sh", "-c"];
    let ended =
        room.words(&[&run[..], &["echo out; echo err >&2"]].concat()).end()?;
    ended.prints("out\n")?;
    ended.so(ended.err == "err\n", "\"err\" on standard error")?;
    let mut entries = entries(room);
    entries.sort_unstable();
    so(
        entries == ["stderr F err", "stdout F out"],
        "the same output in the log",
        format!("{entries:?}"),
    )
}

pub(super) fn private(room: &mut Room) -> Outcome {
    let _one = One::ended(room, &[], "echo secret")?;
    let log = room.container().unwrap_or_default().join("log");
    let about = fs::metadata(log);
    let about = about.map_err(|e| Trouble::fail("a file `log`", e.to_string()))?;
    let mode = about.permissions().mode() & 0o777;
    so(mode == 0o600, "the mode 600 of the log", format!("{mode:o}"))
}

pub(super) fn write_ends(room: &mut Room) -> Outcome {
    let one = One::detached(room, &[], "exec sleep 1000")?;
    let (pid, supervisor) = (one.pid()?, one.supervisor()?);
    let open = |pipe: &str| {
        let entries = fs::read_dir(format!("/proc/{supervisor}/fd"));
        let entries = entries.into_iter().flatten().flatten();
        let names = entries.map(|it| it.file_name().to_string_lossy().into_owned());
        names.filter(|it| link(supervisor, &format!("fd/{it}")) == pipe).count()
    };
    let counts = ["fd/1", "fd/2"].map(|name| open(&link(pid, name)));
    so(
        counts == [1, 1],
        "the supervisor has only the read end of each pipe open",
        format!("descriptors of these pipes in the supervisor: {counts:?}"),
    )
}
