//! The exercises of chapter 3, and of the fifty lines.

use std::fs;

use super::stop;
use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;

pub(super) const ALL: &[Entry] = &[
    ("ch01-fifty-lines-1", "signal_9_gives_exit_status_137", killed, "exit code 1"),
    (
        "ch01-fifty-lines-2",
        "a_missing_program_gives_exit_status_127",
        missing,
        "exit code 1",
    ),
    ("ch01-fifty-lines-3", "the_network_namespace_is_new", another_net, "net:["),
    ("ch03-run-1", "proc_hides_processes_of_other_users", hidepid, " /proc "),
    ("ch03-run-2", "a_flag_sets_the_working_directory", directory, "'-w'"),
    ("ch03-run-3", "a_flag_sets_a_variable", variable, "'-e'"),
    ("ch03-limits-1", "a_kill_for_memory_is_reported", oom_told, "exit code 137"),
    ("ch03-limits-2", "the_memory_limit_can_be_a_percentage", percent, "10%"),
    (
        "ch03-limits-3",
        "cgroup_parent_creates_the_group_inside_another",
        parent,
        "'--cgroup-parent'",
    ),
];

fn killed(room: &mut Room) -> Outcome {
    room.sh("kill -9 $$").end()?.exits(137)
}

fn missing(room: &mut Room) -> Outcome {
    room.run(&["no-such-program"]).end()?.exits(127)
}

fn another_net(room: &mut Room) -> Outcome {
    let outside = fs::read_link("/proc/self/ns/net").expect("readlink(2)");
    let ended = room.run(&["readlink", "/proc/self/ns/net"]).end()?;
    ended.succeeds()?;
    let other = ended.out.trim() != outside.to_string_lossy();
    ended.so(other, &format!("another one than {}", outside.display()))
}

fn hidepid(room: &mut Room) -> Outcome {
    let ended = room.run(&["grep", " /proc proc ", "/proc/mounts"]).end()?;
    ended.succeeds()?;
    ended.so(ended.out.contains("hidepid=invisible"), "/proc with hidepid=invisible")
}

fn variable(room: &mut Room) -> Outcome {
    let run = room.sh("echo $GREETING");
    run.flags(&["-e", "GREETING=hello you"]).end()?.prints("hello you\n")
}

fn oom_told(room: &mut Room) -> Outcome {
    let ended = room.run(&["tail", "/dev/zero"]).flags(&["-m", "16m"]).end()?;
    ended.exits(137)?;
    ended.so(ended.err.contains("memory"), "a line about memory on standard error")
}

/// The memory limit of the group of a process.
fn limit(pid: i32) -> String {
    let group =
        fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = group.trim().rsplit(':').next().unwrap_or_default().to_owned();
    let file = format!("/sys/fs/cgroup{path}/memory.max");
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn percent(room: &mut Room) -> Outcome {
    let mut running =
        room.sh("echo ready; exec sleep 1000").flags(&["-m", "10%"]).start()?;
    running.prints("ready")?;
    let limit = limit(running.has("sleep")?);
    stop(running);
    let table = fs::read_to_string("/proc/meminfo").expect("read(2)");
    let all = table.split_whitespace().nth(1).and_then(|text| text.parse().ok());
    let tenth: u64 = all.unwrap_or(0_u64) * 1024 / 10;
    // The kernel counts in pages.
    let near = limit.parse().is_ok_and(|it: u64| it.abs_diff(tenth) <= 4096);
    so(near, &format!("a limit of {tenth} bytes"), format!("a limit of {limit:?}"))
}

fn parent(room: &mut Room) -> Outcome {
    let flags = ["-pids", "50", "--cgroup-parent", "grade-parent"];
    let mut running =
        room.sh("echo ready; exec sleep 1000").flags(&flags).start()?;
    running.prints("ready")?;
    let pid = running.has("sleep")?;
    let group =
        fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    stop(running);
    // The program that created the group must also remove it.
    let _ = fs::remove_dir("/sys/fs/cgroup/grade-parent");
    so(group.contains("/grade-parent/"), "a group in grade-parent", group)
}

fn directory(room: &mut Room) -> Outcome {
    room.run(&["pwd"]).flags(&["-w", "/usr"]).end()?.prints("/usr\n")
}
