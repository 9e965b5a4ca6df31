//! The checks of ch03-limits: the group of a container, its files and its end.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use blackbox::has_controller;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroups::{end, process, remove};
use crate::Entry;
use crate::lessons::groups::{own_group, v2};
use crate::outcome::{Outcome, Trouble, so};
use crate::room::{Room, wait_within};

pub(super) const ALL: &[Entry] = &[
    ("container-group", "the_first_process_starts_in_the_group", starts, ""),
    ("container-group", "every_option_has_its_file", files, ""),
    ("container-group", "a_disks_traffic_is_limited", io, ""),
    ("container-group", "a_process_that_remains_is_killed", remains, ""),
    (
        "container-group",
        "groups_inside_are_removed_with_their_processes",
        inside,
        "",
    ),
];

/// Start a container with these options, and call `then` with its group's directory. The
/// group must disappear when the container's program is killed.
fn container(
    room: &Room,
    flags: &[&str],
    then: impl FnOnce(&Path) -> Outcome,
) -> Outcome {
    let run = room.sh("echo ready; exec sleep 1000").flags(flags);
    let mut running = run.start()?;
    let found = running.prints("ready").and_then(|()| running.has("sleep"));
    let found = found.and_then(|pid| Ok((pid, own_group(pid)?)));
    let (pid, group) = match found {
        Ok(found) => found,
        Err(trouble) => {
            running.stop();
            return Err(trouble);
        }
    };
    let outcome = then(&group);
    // The other processes of the check live on.
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill(2)");
    let ended = running.end();
    let place = format!("no directory {} after the end", group.display());
    let actual = format!("it exists: {}", left(&group));
    let is_gone = so(!group.exists(), &place, actual);
    remove(&group);
    outcome.and(ended.map(|_| ())).and(is_gone)
}

fn starts(room: &mut Room) -> Outcome {
    v2()?;
    // The program reads it before any other process could have moved it.
    let run = room.run(&["cat", "/proc/self/cgroup"]).flags(&["-pids", "20"]);
    let ended = run.end()?;
    ended.succeeds()?;
    let is = ended.out.contains("0::/mydocker-");
    ended.so(is, "\"0::/mydocker-ID\", the container's own group")
}

/// The processes in a group, and the groups inside it.
fn left(group: &Path) -> String {
    let members = fs::read_to_string(group.join("cgroup.procs"));
    let members = members.unwrap_or_default();
    let members: Vec<&str> = members.lines().collect();
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let inside = entries.filter(|entry| entry.path().is_dir());
    let inside: Vec<_> = inside.map(|entry| entry.file_name()).collect();
    format!("processes {members:?}, groups inside {inside:?}")
}

/// The group's files that these options set, with their values.
const FILES: [(&str, &str); 6] = [
    ("memory.max", "67108864"),
    ("cpu.max", "50000 100000"),
    ("cpu.weight", "20"),
    ("cpuset.cpus", "0"),
    ("pids.max", "20"),
    ("memory.swap.max", "0"),
];

fn files(room: &mut Room) -> Outcome {
    for name in ["memory", "cpu", "cpuset", "pids"] {
        if !has_controller(name) {
            let reason = "this kernel lacks one of the controllers";
            return Err(Trouble::skip(reason));
        }
    }
    let flags = [
        "-m",
        "64m",
        "-cpus",
        "0.5",
        "-cpushare",
        "512",
        "-cpuset",
        "0",
        "-pids",
        "20",
    ];
    let look = |group: &Path| {
        FILES.iter().try_for_each(|(name, expected)| {
            let file = group.join(name);
            // A kernel may have no accounting of swap.
            if *name == "memory.swap.max" && !file.exists() {
                return Ok(());
            }
            let found = fs::read_to_string(&file).unwrap_or_default();
            let found = found.trim();
            so(
                found == *expected,
                &format!("{expected:?} in {name}"),
                format!("{found:?}"),
            )
        })
    };
    container(room, &flags, look)
}

fn io(room: &mut Room) -> Outcome {
    let disk =
        ["/dev/vda", "/dev/sda"].into_iter().find(|disk| Path::new(disk).exists());
    let Some(disk) = disk.filter(|_| has_controller("io")) else {
        return Err(Trouble::skip("there is no disk, or no controller io"));
    };
    let limit = format!("{disk}:rbps=1m,wiops=100");
    let expected = "rbps=1048576 wbps=max riops=max wiops=100";
    let look = |group: &Path| {
        let found = fs::read_to_string(group.join("io.max")).unwrap_or_default();
        so(
            found.contains(expected),
            &format!("{expected:?} in io.max"),
            format!("{found:?}"),
        )
    };
    container(room, &["--io", &limit], look)
}

/// The process was killed when the container ended.
fn is_killed(process: &mut Child) -> Outcome {
    let ended = wait_within(Duration::from_secs(5), || {
        process.try_wait().expect("waitpid(2)")
    });
    let signal = ended.and_then(|status| status.signal());
    so(signal == Some(9), "a process in the group killed by signal 9", "it runs on")
}

/// A process of the host joins the group at this path in the container's group. The
/// container must kill it, because the kernel does not: it is not in the container's PID
/// namespace.
fn outsider(room: &Room, inner: &str) -> Outcome {
    let mut outsider = None;
    let outcome = container(room, &["-pids", "20"], |group| {
        let inner = group.join(inner);
        fs::create_dir_all(&inner).expect("mkdir(2)");
        let process = process();
        let pid = process.id().to_string();
        fs::write(inner.join("cgroup.procs"), pid).expect("write(2)");
        outsider = Some(process);
        Ok(())
    });
    let Some(mut process) = outsider else { return outcome };
    let outcome = outcome.and_then(|()| is_killed(&mut process));
    end(process);
    outcome
}

fn remains(room: &mut Room) -> Outcome {
    outsider(room, "")
}

fn inside(room: &mut Room) -> Outcome {
    outsider(room, "a/b")
}
