//! The checks of ch02-cgroups. Some of them mount the v1 controller freezer, which v2 does
//! not use: then a group has a directory in each of two hierarchies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::living;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::Entry;
use crate::lessons::groups::v2;
use crate::outcome::{Outcome, Trouble, so};
use crate::room::{Room, wait_within};

pub(super) const ALL: &[Entry] = &[
    ("cgroup", "a_group_inside_another_has_the_controllers", controllers, ""),
    ("cgroup", "create_makes_the_directory_and_refuses_a_second", creates, ""),
    ("cgroup", "a_failed_create_leaves_no_directory", all_or_none, ""),
    ("cgroup", "exec_starts_the_program_in_the_group", exec, ""),
    ("cgroup", "a_process_is_moved_in_every_hierarchy", moves, ""),
    ("cgroup", "freeze_stops_the_processes_until_thaw", freezes, ""),
    ("cgroup", "freeze_knows_the_files_of_v1", freezes_v1, ""),
    ("cgroup", "delete_removes_all_directories_of_an_empty_group", deletes, ""),
    ("cgroup", "a_group_with_processes_is_kept_in_every_hierarchy", in_use, ""),
    ("cgroup", "a_group_with_groups_inside_is_kept", has_groups, ""),
];

/// The group of the checks, and the name of its directories.
const NAME: &str = "grade";
const DIRECTORY: &str = "mydocker-grade";

/// The directories in the two hierarchies: of v2, and of v1's freezer, which is only
/// mounted if the check asks for it.
struct Places {
    v2: PathBuf,
    v1: PathBuf,
}

/// Call `then` with the places of the group. Remove the group afterwards, in spite of any
/// mistake of the program.
fn group(room: &Room, then: impl FnOnce(&Places) -> Outcome) -> Outcome {
    let root = v2()?;
    let v1 = room.path("freezer").join(DIRECTORY);
    let places = Places { v2: root.join(DIRECTORY), v1 };
    let outcome = then(&places);
    remove(&places.v2);
    outcome
}

/// Like [`group`], with the freezer of v1 mounted.
fn two_hierarchies(room: &Room, then: impl FnOnce(&Places) -> Outcome) -> Outcome {
    let at = room.directory("freezer");
    let (kind, none) = (Some("cgroup"), MsFlags::empty());
    if mount(kind, &at, kind, none, Some("freezer")).is_err() {
        return Err(Trouble::skip("this kernel has no freezer of cgroup v1"));
    }
    let outcome = group(room, |places| {
        let outcome = then(places);
        remove(&places.v1);
        outcome
    });
    // If removed groups still exist in the kernel, umount(2) leaves the hierarchy behind.
    wait_within(WAIT, || only_root_group().then_some(()));
    umount2(&at, MntFlags::MNT_DETACH).expect("umount2(2)");
    outcome
}

/// Whether the freezer's hierarchy has only its root group. Ended processes that nobody
/// waits for keep their groups, so they are reaped.
fn only_root_group() -> bool {
    let any = Pid::from_raw(-1);
    let alive = WaitStatus::StillAlive;
    while waitpid(any, Some(WaitPidFlag::WNOHANG)).is_ok_and(|it| it != alive) {}
    let table = fs::read_to_string("/proc/cgroups").expect("read(2)");
    let line = table.lines().find(|line| line.starts_with("freezer\t"));
    // NAME HIERARCHY GROUPS ENABLED
    line.is_none_or(|line| line.split('\t').nth(2) == Some("1"))
}

/// The time within which the kernel must have removed a group.
const WAIT: Duration = Duration::from_secs(5);

/// Remove a group, the groups inside it and their processes.
pub(super) fn remove(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::write(place.join("freezer.state"), "THAWED");
    let end = Instant::now() + WAIT;
    while place.exists() && fs::remove_dir(place).is_err() && Instant::now() < end {
        let members = fs::read_to_string(place.join("cgroup.procs"));
        for pid in members.unwrap_or_default().lines() {
            let pid = pid.parse().unwrap_or_default();
            if living().contains_key(&pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        sleep(Duration::from_millis(10));
    }
}

fn create(room: &Room, name: &str, controllers: &str) -> Outcome {
    let words = ["create", name, "--controllers", controllers];
    room.words(&words).end()?.succeeds()
}

/// A process of the check, outside of all groups.
pub(super) fn process() -> Child {
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(Stdio::null()).spawn().expect("fork(2)")
}

pub(super) fn end(mut process: Child) {
    let _ = process.kill();
    let _ = process.wait();
}

fn is_there(place: &Path) -> Outcome {
    let expected = format!("the directory {}", place.display());
    so(place.is_dir(), &expected, "it does not exist")
}

fn is_gone(place: &Path) -> Outcome {
    let expected = format!("no directory {}", place.display());
    so(!place.exists(), &expected, "it exists")
}

fn controllers(room: &mut Room) -> Outcome {
    group(room, |places| {
        create(room, NAME, "memory,pids")?;
        let inner = format!("{NAME}/inner");
        create(room, &inner, "memory,pids")?;
        for place in [places.v2.clone(), places.v2.join("inner")] {
            let file = place.join("cgroup.controllers");
            let has = fs::read_to_string(&file).unwrap_or_default();
            let has: Vec<&str> = has.split_whitespace().collect();
            so(
                ["memory", "pids"].iter().all(|name| has.contains(name)),
                &format!("memory and pids in {}", file.display()),
                format!("{has:?}"),
            )?;
        }
        Ok(())
    })
}

fn creates(room: &mut Room) -> Outcome {
    group(room, |places| {
        create(room, NAME, "pids")?;
        is_there(&places.v2)?;
        let words = ["create", NAME, "--controllers", "pids"];
        room.words(&words).end()?.exits(125)?;
        is_there(&places.v2)
    })
}

fn all_or_none(room: &mut Room) -> Outcome {
    two_hierarchies(room, |places| {
        // The second mkdir(2) fails with EEXIST.
        fs::create_dir(&places.v1).expect("mkdir(2)");
        let words = ["create", NAME, "--controllers", "pids,freezer"];
        room.words(&words).end()?.exits(125)?;
        is_gone(&places.v2)
    })
}

/// The process is in the group, in all these hierarchies.
fn is_in_group(pid: i32, controllers: &[&str]) -> Outcome {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let table = table.unwrap_or_default();
    for controller in controllers {
        let line = table.lines().find(|line| {
            let name = line.split(':').nth(1).unwrap_or_default();
            name == *controller
        });
        let line = line.unwrap_or_default();
        so(
            line.ends_with(&format!("/{DIRECTORY}")),
            &format!("process {pid} in /{DIRECTORY} in each hierarchy"),
            format!("{line:?} in /proc/{pid}/cgroup"),
        )?;
    }
    Ok(())
}

fn exec(room: &mut Room) -> Outcome {
    group(room, |_| {
        create(room, NAME, "pids")?;
        let mut running = room.words(&["exec", NAME, "sleep", "1000"]).start()?;
        let outcome = running.has("sleep").and_then(|pid| is_in_group(pid, &[""]));
        running.stop();
        outcome
    })
}

fn moves(room: &mut Room) -> Outcome {
    two_hierarchies(room, |_| {
        create(room, NAME, "pids,freezer")?;
        let process = process();
        let pid = process.id();
        let moved = room.words(&["move", NAME, &pid.to_string()]).end();
        let outcome = moved.and_then(|moved| {
            moved.succeeds()?;
            is_in_group(pid.cast_signed(), &["", "freezer"])
        });
        end(process);
        outcome
    })
}

/// A program in the group stops at `freeze`, and continues at `thaw`. `is` returns
/// whether the group's file says so.
fn freeze(room: &Room, is: impl Fn(bool) -> Outcome) -> Outcome {
    let script = "echo ready; while :; do echo tick; sleep 0.02; done";
    let mut running = room.words(&["exec", NAME, "sh", "-c", script]).start()?;
    let outcome = running.prints("ready").and_then(|()| {
        room.words(&["freeze", NAME]).end()?.succeeds()?;
        is(true)?;
        let before = ticks(room);
        sleep(Duration::from_millis(300));
        let more = ticks(room) - before;
        so(more == 0, "no output of a frozen process", format!("{more} bytes"))?;
        room.words(&["thaw", NAME]).end()?.succeeds()?;
        is(false)?;
        let goes_on = wait_within(Duration::from_secs(10), || {
            (ticks(room) > before).then_some(())
        });
        so(goes_on.is_some(), "more output after the thaw", "none in ten seconds")
    });
    // A frozen process of v1 does not end before the thaw.
    let _ = room.words(&["thaw", NAME]).end();
    running.stop();
    outcome
}

/// The size of the program's output. Other runs of the check print nothing, but they
/// truncate the file.
fn ticks(room: &Room) -> u64 {
    fs::metadata(room.path("stdout")).map_or(0, |about| about.len())
}

fn state(file: &Path, expected: &str) -> Outcome {
    let text = fs::read_to_string(file).unwrap_or_default();
    let is = text.lines().any(|line| line == expected);
    let shown = format!("{expected:?} in {}", file.display());
    so(is, &shown, format!("{:?}", text.trim()))
}

fn freezes(room: &mut Room) -> Outcome {
    group(room, |places| {
        create(room, NAME, "pids")?;
        let file = places.v2.join("cgroup.events");
        freeze(room, |frozen| {
            state(&file, if frozen { "frozen 1" } else { "frozen 0" })
        })
    })
}

fn freezes_v1(room: &mut Room) -> Outcome {
    two_hierarchies(room, |places| {
        create(room, NAME, "freezer")?;
        let file = places.v1.join("freezer.state");
        freeze(room, |frozen| state(&file, if frozen { "FROZEN" } else { "THAWED" }))
    })
}

fn deletes(room: &mut Room) -> Outcome {
    two_hierarchies(room, |places| {
        create(room, NAME, "pids,freezer")?;
        room.words(&["delete", NAME]).end()?.succeeds()?;
        is_gone(&places.v2)?;
        is_gone(&places.v1)
    })
}

fn in_use(room: &mut Room) -> Outcome {
    two_hierarchies(room, |places| {
        create(room, NAME, "pids,freezer")?;
        // rmdir(2) would fail only in the second hierarchy.
        let process = process();
        let pid = process.id().to_string();
        fs::write(places.v1.join("cgroup.procs"), &pid).expect("write(2)");
        let deleted = room.words(&["delete", NAME]).end();
        let outcome = deleted.and_then(|ended| {
            ended.exits(125)?;
            let names = ended.err.contains(&pid);
            ended.so(names, &format!("an error that names the process {pid}"))?;
            is_there(&places.v2)?;
            is_there(&places.v1)
        });
        end(process);
        outcome
    })
}

fn has_groups(room: &mut Room) -> Outcome {
    two_hierarchies(room, |places| {
        create(room, NAME, "pids,freezer")?;
        fs::create_dir(places.v1.join("inner")).expect("mkdir(2)");
        let ended = room.words(&["delete", NAME]).end()?;
        ended.exits(125)?;
        let names = ended.err.contains("inner");
        ended.so(names, "an error that names the group inside, \"inner\"")?;
        is_there(&places.v2)
    })
}
