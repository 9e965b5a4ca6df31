//! The environment, the working directory, the user and a read-only root.

use std::fs;

use super::one::One;
use crate::outcome::{Outcome, so};
use crate::process::field;
use crate::room::Room;
use crate::subject::Run;

/// A script in a container with these flags.
fn script<'a>(room: &'a Room, flags: &[&str], script: &str) -> Run<'a> {
    let run = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
    room.words(&run)
}

pub(super) fn variables(room: &mut Room) -> Outcome {
    let _one = One::guard(room);
    let file = room.path("variables");
    fs::write(&file, "FIRST=from the file\nSECOND=from the file\n")
        .expect("write(2)");
    let file = file.to_string_lossy().into_owned();
    let flags = ["--env-file", &file, "-e", "SECOND=from the flag"];
    script(room, &flags, "echo $FIRST, $SECOND")
        .end()?
        .prints("from the file, from the flag\n")
}

pub(super) fn directory(room: &mut Room) -> Outcome {
    let _one = One::guard(room);
    let ended = script(room, &["-w", "/new/directory"], "pwd; ls ..").end()?;
    ended.prints("/new/directory\ndirectory\n")
}

pub(super) fn relative(room: &mut Room) -> Outcome {
    let _one = One::guard(room);
    let ended = script(room, &["-w", "new"], "pwd").end()?;
    let told = ended.code != 0 && ended.err.contains("absolute");
    ended.so(told, "an error: the directory must be absolute")
}

pub(super) fn ids(room: &mut Room) -> Outcome {
    let one = One::detached(room, &["-u", "7:8"], "exec sleep 1000")?;
    let pid = one.pid()?;
    let seen = ["Uid", "Gid"].map(|name| field(pid, name));
    so(
        seen == ["7\t7\t7\t7", "8\t8\t8\t8"],
        "in /proc/PID/status, all user IDs are 7 and all group IDs are 8",
        format!("Uid: {}, Gid: {}", seen[0], seen[1]),
    )
}

/// Start a container whose /etc/passwd has the user ann, in the groups audio and staff.
fn with_ann(room: &Room) -> Result<One<'_>, crate::outcome::Trouble> {
    let one = One::detached(room, &[], "exec sleep 1000")?;
    let files = "echo ann:x:7:8::/home/ann:/bin/sh > /etc/passwd; \
                 printf 'audio:x:29:ann\\nstaff:x:50:bob,ann\\n' > /etc/group";
    room.words(&["exec", "one", "sh", "-c", &format!("mkdir -p /etc; {files}")])
        .end()?
        .succeeds()?;
    Ok(one)
}

pub(super) fn home(room: &mut Room) -> Outcome {
    let _one = with_ann(room)?;
    let exec = ["exec", "-u", "ann", "one", "sh", "-c", "echo $HOME"];
    room.words(&exec).end()?.prints("/home/ann\n")
}

pub(super) fn groups(room: &mut Room) -> Outcome {
    let _one = with_ann(room)?;
    let exec = ["exec", "-u", "ann", "one", "sh", "-c", "exec tail -f /dev/null"];
    let mut running = room.words(&exec).start()?;
    let pid = running.has("tail")?;
    let seen = field(pid, "Groups");
    so(
        seen.split_whitespace().eq(["29", "50"]),
        "in /proc/PID/status, the supplementary groups are 29 and 50",
        format!("Groups: {seen:?}"),
    )
}

pub(super) fn streams(room: &mut Room) -> Outcome {
    let _one = One::guard(room);
    // A shell opens /dev/stdout again, as the user.
    let ended = script(room, &["-u", "7:8"], "echo opened > /dev/stdout").end()?;
    ended.prints("opened\n")
}

pub(super) fn no_capability(room: &mut Room) -> Outcome {
    let one = One::detached(room, &["-u", "7:8"], "exec sleep 1000")?;
    let seen = field(one.pid()?, "CapEff");
    so(
        seen.chars().all(|digit| digit == '0'),
        "the program of an ordinary user has no effective capability",
        format!("CapEff: {seen}"),
    )
}

pub(super) fn read_only(room: &mut Room) -> Outcome {
    let _one = One::guard(room);
    let host = room.directory("volume");
    let volume = format!("{}:/volume", host.display());
    let write = "(echo x > /file) 2> /dev/null || echo refused; \
                 echo y > /volume/file && echo written";
    let ended = script(room, &["--read-only", "-v", &volume], write).end()?;
    ended.prints("refused\nwritten\n")
}
