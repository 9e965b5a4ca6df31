//! The checks of the book's exercises, three for each chapter. Each check fails on the
//! unchanged checkout. The last column is a part of the result there.

mod groups_and_unions;
mod images;
mod init_and_attach;
mod lives;
mod namespaces;
mod networks;
mod registries;
mod roots;
mod runs;
mod streams;

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::Entry;
use crate::outcome::Outcome;
use crate::room::Room;
use crate::running::Running;
use crate::subject::Run;

/// All the checks, in the order of the book.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    let parts = [
        namespaces::ALL,
        groups_and_unions::ALL,
        runs::ALL,
        roots::ALL,
        images::ALL,
        streams::ALL,
        init_and_attach::ALL,
        lives::ALL,
        networks::ALL,
        registries::ALL,
    ];
    parts.into_iter().flatten()
}

/// End a container whose result does not matter.
fn stop(running: Running) {
    running.stop();
}

/// A shell script in a container of busybox, with these flags.
fn env<'a>(room: &'a Room, flags: &[&str], script: &str) -> Run<'a> {
    let run = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
    room.words(&run)
}

/// A later mount on the host is visible inside.
fn later_mount(room: &Room, at: &Path, inside: &str, flags: &[&str]) -> Outcome {
    let script = format!(
        "echo ready; i=0; until test -e {inside}/seen || test $i = 300; do \
         i=$((i + 1)); sleep 0.1; done; test -e {inside}/seen && echo seen"
    );
    let mut running = room.sh(&script).flags(flags).start()?;
    running.prints("ready")?;
    let none = None::<&str>;
    mount(none, at, Some("tmpfs"), MsFlags::empty(), none).expect("mount(2)");
    fs::write(at.join("seen"), "").expect("write(2)");
    let ended = running.end();
    nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH).expect("umount2(2)");
    ended?.prints("ready\nseen\n")
}

fn read_only(room: &mut Room) -> Outcome {
    let run = room.sh("touch /grade 2> /dev/null || echo refused");
    let ended = run.flags(&["--read-only"]).end();
    let _ = fs::remove_file("/grade");
    ended?.prints("refused\n")
}
