//! `attach`: input and output of a detached container.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use blackbox::Terminal;

use super::one::{One, PATIENCE, until};
use crate::outcome::{Outcome, Trouble, so};
use crate::room::Room;

/// The time within which a text must appear on the terminal.
const SECONDS: u64 = PATIENCE.as_secs();

pub(super) fn socket(room: &mut Room) -> Outcome {
    let _one = One::detached(room, &["-i"], "exec cat")?;
    let path = room.container().unwrap_or_default().join("attach");
    let about = fs::symlink_metadata(&path);
    let about =
        about.map_err(|e| Trouble::fail("a file `attach`", e.to_string()))?;
    so(about.file_type().is_socket(), "a socket", format!("{about:?}"))?;
    let mode = about.permissions().mode() & 0o777;
    so(mode == 0o600, "the mode 600 of the socket", format!("{mode:o}"))
}

pub(super) fn pipe(room: &mut Room) -> Outcome {
    let _one = One::detached(room, &["-i"], "read line; echo got $line; exit 3")?;
    let attach = room.words(&["attach", "one"]).input("hello\n");
    let ended = attach.start()?.end_within(PATIENCE)?;
    ended.exits(3)?;
    ended.so(ended.out == "got hello\n", "\"got hello\" on standard output")
}

/// Attach a terminal to a container with a shell on a terminal.
fn attached<'a>(room: &'a Room) -> Result<(One<'a>, Terminal), Trouble> {
    let one = One::detached(room, &["-t", "-i"], "exec sh")?;
    let mut terminal = room.words(&["attach", "one"]).on_terminal();
    // The shell prints the sum, and the echo of the keys does not have it.
    terminal.type_keys("echo =$((40+2))=\n");
    terminal.see_within("=42=", SECONDS);
    Ok((one, terminal))
}

pub(super) fn terminal(room: &mut Room) -> Outcome {
    let (_one, mut terminal) = attached(room)?;
    terminal.type_keys("tty; exit 3\n");
    terminal.see_within("/dev/", SECONDS);
    let code = terminal.end();
    so(code == 3, "the exit status of the program, 3", format!("{code}"))
}

pub(super) fn detach_keys(room: &mut Room) -> Outcome {
    let (one, mut terminal) = attached(room)?;
    // Ctrl-P, Ctrl-Q.
    terminal.type_keys("\u{10}\u{11}");
    terminal.see_within("detached", SECONDS);
    let code = terminal.end();
    so(code == 0, "the exit status 0 after the detach keys", format!("{code}"))?;
    one.pid().map(drop)?;
    // Another client can attach.
    let mut terminal = room.words(&["attach", "one"]).on_terminal();
    terminal.type_keys("echo =$((1+2))=; exit 4\n");
    terminal.see_within("=3=", SECONDS);
    let code = terminal.end();
    so(code == 4, "the exit status of the program, 4", format!("{code}"))
}

pub(super) fn without_client(room: &mut Room) -> Outcome {
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done; \
                  exec sleep 1000";
    let _one = One::detached(room, &["-t"], script)?;
    let last = || room.log().lines().last().unwrap_or_default().to_owned();
    until(
        "the supervisor reads the terminal into the log, also without a client",
        || format!("the last entry is {:?}", last()),
        || room.log().contains(" line 2999"),
    )
}

pub(super) fn size(room: &mut Room) -> Outcome {
    let (_one, mut terminal) = attached(room)?;
    terminal.resize(101, 37);
    terminal
        .type_keys("until stty size | grep '37 101'; do sleep 0.1; done; exit\n");
    terminal.see_within("\n37 101", SECONDS);
    terminal.end();
    Ok(())
}
