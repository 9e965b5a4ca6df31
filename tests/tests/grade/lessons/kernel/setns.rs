//! The checks of ch02-setns: unshare(2), setns(2), and namespaces that are held by a name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::Entry;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::Room;
use crate::running::Running;

pub(super) const ALL: &[Entry] = &[
    ("unshare", "only_the_requested_namespaces_are_new", only_requested, ""),
    ("unshare", "a_new_pid_namespace_applies_to_the_program", pid_1, ""),
    ("unshare", "a_mount_made_inside_is_not_visible_outside", private, ""),
    ("unshare", "an_ordinary_user_becomes_root_inside", root_inside, ""),
    ("setns", "a_program_joins_all_namespaces_of_a_process", joins_all, ""),
    ("setns", "a_program_joins_only_the_requested_namespace", joins_one, ""),
    ("setns", "the_program_is_root_in_a_joined_user_namespace", joins_user, ""),
    ("setns", "a_missing_process_is_an_error", no_process, ""),
    ("hold", "a_held_namespace_outlives_its_processes", outlives, ""),
    ("hold", "a_name_in_use_is_refused", twice, ""),
    ("hold", "a_failed_hold_leaves_no_file", failed, ""),
    ("hold", "a_program_joins_a_held_namespace", joins_held, ""),
    ("hold", "release_removes_the_mount_and_the_file", releases, ""),
];

const KINDS: [&str; 8] =
    ["mnt", "uts", "ipc", "pid", "net", "user", "cgroup", "time"];

/// The namespace of this kind of a process, such as `uts:[4026531838]`.
fn namespace(pid: &str, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    link.map_or_else(|e| e.to_string(), |link| link.display().to_string())
}

/// The kinds of which the two processes have different namespaces.
fn different(one: &str, other: &str) -> Vec<&'static str> {
    let differs = |kind: &&str| namespace(one, kind) != namespace(other, kind);
    KINDS.into_iter().filter(differs).collect()
}

/// Start the program with these arguments and a shell that becomes `name`, wait for
/// that process, and call `then` with its PID.
fn beside(
    room: &Room,
    words: &[&str],
    name: &str,
    then: impl FnOnce(&str) -> Outcome,
) -> Outcome {
    let script = match name {
        "sleep" => "hostname box; echo ready; exec sleep 1000".to_owned(),
        name => format!("echo ready; exec {name} -f /dev/null"),
    };
    let mut running =
        room.words(&[words, &["sh", "-c", &script]].concat()).start()?;
    let outcome = found(&mut running, name).and_then(|pid| then(&pid));
    running.stop();
    outcome
}

fn found(running: &mut Running, name: &str) -> Result<String, Trouble> {
    running.prints("ready")?;
    running.has(name).map(|pid| pid.to_string())
}

fn only_requested(room: &mut Room) -> Outcome {
    let words = ["unshare", "--uts", "--mount", "--ipc"];
    beside(room, &words, "sleep", |pid| {
        let new = different(pid, "self");
        let expected = ["mnt", "uts", "ipc"];
        so(
            new == expected,
            &format!("new namespaces of the kinds {expected:?}"),
            format!("new namespaces of the kinds {new:?}"),
        )
    })
}

fn pid_1(room: &mut Room) -> Outcome {
    let words = ["unshare", "--pid", "sh", "-c", "echo $$; exit 4"];
    let ended = room.words(&words).end()?;
    ended
        .so(ended.out == "1\n", "\"1\\n\" on standard output, the program's PID")?;
    ended.exits(4)
}

fn private(room: &mut Room) -> Outcome {
    let at = room.directory("mounted");
    let place = at.to_string_lossy();
    let script = format!("mount -t tmpfs grade {place} && echo mounted");
    let ended = room.words(&["unshare", "--mount", "sh", "-c", &script]).end();
    let seen = umount2(&at, MntFlags::MNT_DETACH).is_ok();
    ended?.prints("mounted\n")?;
    so(
        !seen,
        "no mount outside: the mounts inside are private",
        format!("the tmpfs on {place} is mounted outside, too"),
    )
}

fn root_inside(room: &mut Room) -> Outcome {
    let words = ["unshare", "--user", "--uts", "sh", "-c", "hostname box; id -u"];
    room.words(&words).as_user().end()?.prints("0\n")
}

fn joins_all(room: &mut Room) -> Outcome {
    beside(room, &["run", "--uts", "--pid", "--mount"], "sleep", |pid| {
        beside(room, &["enter", pid], "tail", |joined| {
            let other = different(joined, pid);
            so(
                other.is_empty(),
                &format!("the program in all namespaces of process {pid}"),
                format!("other namespaces of the kinds {other:?}"),
            )
        })
    })
}

fn joins_one(room: &mut Room) -> Outcome {
    beside(room, &["run", "--uts", "--ipc"], "sleep", |pid| {
        beside(room, &["enter", pid, "--uts"], "tail", |joined| {
            let (from_host, from_target) =
                (different(joined, "self"), different(joined, pid));
            so(
                from_host == ["uts"] && from_target == ["ipc"],
                &format!("only the UTS namespace of process {pid} joined"),
                format!("namespaces that the host does not share: {from_host:?}"),
            )
        })
    })
}

fn joins_user(room: &mut Room) -> Outcome {
    let words = ["unshare", "--user", "--uts", "sh", "-c"];
    let script = "hostname box; echo ready; exec sleep 1000";
    let mut running =
        room.words(&[&words[..], &[script]].concat()).as_user().start()?;
    let outcome = found(&mut running, "sleep").and_then(|pid| {
        let enter = ["enter", &pid, "sh", "-c", "id -u; hostname"];
        room.words(&enter).end()?.prints("0\nbox\n")
    });
    running.stop();
    outcome
}

fn no_process(room: &mut Room) -> Outcome {
    // PIDs of the VM are smaller than 4194304, the largest value of pid_max.
    room.words(&["enter", "4194304", "true"]).end()?.exits(125)?;
    room.words(&["enter", "0", "true"]).end()?.exits(125)
}

/// The file that holds the namespace with the name `grade`.
fn held(room: &Room) -> PathBuf {
    room.lab.state().join("namespaces/grade")
}

/// Remove what `hold` leaves, in spite of any mistake of the program.
fn unhold(room: &Room) {
    let path = held(room);
    while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
    let _ = fs::remove_file(&path);
    let _ = fs::remove_dir(room.lab.state().join("namespaces"));
}

/// Hold the UTS namespace of a process that has ended then. Call `then` with the file
/// that holds the namespace, and the namespace's number.
fn holding(room: &Room, then: impl FnOnce(&Path, u64) -> Outcome) -> Outcome {
    let mut number = 0;
    let outcome = beside(room, &["run", "--uts"], "sleep", |pid| {
        let link = fs::metadata(format!("/proc/{pid}/ns/uts"));
        number = link.expect("stat(2)").ino();
        room.words(&["hold", "grade", pid, "--uts"]).end()?.succeeds()
    });
    let outcome = outcome.and_then(|()| then(&held(room), number));
    unhold(room);
    outcome
}

/// The file holds the namespace with this number.
fn holds(path: &Path, number: u64) -> Outcome {
    let expected = format!("uts:[{number}] mounted on {}", path.display());
    match fs::metadata(path) {
        Ok(about) if about.ino() == number => Ok(()),
        Ok(about) => Err(Trouble::fail(
            expected,
            format!("a file with inode {}", about.ino()),
        )),
        Err(error) => Err(Trouble::fail(expected, error.to_string())),
    }
}

fn outlives(room: &mut Room) -> Outcome {
    holding(room, holds)
}

fn twice(room: &mut Room) -> Outcome {
    holding(room, |path, number| {
        let own = std::process::id().to_string();
        room.words(&["hold", "grade", &own, "--uts"]).end()?.exits(125)?;
        holds(path, number)
    })
}

fn failed(room: &mut Room) -> Outcome {
    // The kernel refuses a mount of a mount namespace inside itself: EINVAL.
    let own = std::process::id().to_string();
    let ended = room.words(&["hold", "grade", &own, "--mount"]).end();
    let left = held(room).exists();
    unhold(room);
    ended?.exits(125)?;
    so(
        !left,
        "no file after mount(2) has failed",
        "the file is still there, so the name can never be used",
    )
}

fn joins_held(room: &mut Room) -> Outcome {
    holding(room, |_, number| {
        let script = "hostname; readlink /proc/self/ns/uts";
        let enter = room.words(&["enter", "grade", "sh", "-c", script]);
        enter.end()?.prints(&format!("box\nuts:[{number}]\n"))
    })
}

fn releases(room: &mut Room) -> Outcome {
    holding(room, |path, _| {
        room.words(&["release", "grade"]).end()?.succeeds()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read(2)");
        let place = path.to_string_lossy();
        let mounted = mounts.lines().any(|line| line.contains(&*place));
        so(!mounted, "no mount", format!("a mount on {place}"))?;
        so(!path.exists(), "no file", format!("the file {place}"))
    })
}
