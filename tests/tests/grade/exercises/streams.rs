//! The exercises of chapter 5 about the input and output of a container.

use std::fs;

use blackbox::living;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::{env, stop};
use crate::Entry;
use crate::outcome::{Outcome, so};
use crate::room::Room;
use crate::running::Running;

pub(super) const ALL: &[Entry] = &[
    ("ch05-detach-1", "id_file_contains_the_container_id", id_file, "'--id-file'"),
    ("ch05-detach-2", "no_log_keeps_no_output", no_log, "'--no-log'"),
    ("ch05-detach-3", "stdin_reads_from_a_file", stdin_file, "'--stdin'"),
    ("ch05-logs-1", "only_shows_one_stream", only, "'--only'"),
    ("ch05-logs-2", "until_shows_output_before_a_time", before, "'--until'"),
    ("ch05-logs-3", "logs_labels_the_lines_of_several_containers", several, "'two'"),
    ("ch05-exec-1", "a_detached_exec_prints_its_pid", number, "\"\""),
    ("ch05-exec-2", "timeout_ends_the_program_in_time", timeout, "'--timeout'"),
    (
        "ch05-exec-3",
        "only_net_joins_only_the_network_namespace",
        only_net,
        "'--only'",
    ),
    ("ch05-env-1", "group_add_adds_groups", group_add, "'--group-add'"),
    ("ch05-env-2", "unset_removes_a_variable", unset, "'--unset'"),
    ("ch05-env-3", "umask_sets_the_mode_of_new_files", umask, "'--umask'"),
];

fn id_file(room: &mut Room) -> Outcome {
    let file = room.path("id");
    let words = ["run", "-d", "--rm", "--id-file", &file.to_string_lossy()];
    let ended = room.words(&[&words[..], &["busybox", "true"]].concat()).end()?;
    ended.succeeds()?;
    let gone = room.gone("ch05-detach");
    so(gone, "the container to end", "it runs on")?;
    let text = fs::read_to_string(&file).unwrap_or_default();
    let same = text.trim() == ended.out.trim();
    so(same, &format!("{} in the file", ended.out.trim()), format!("{text:?}"))
}

fn no_log(room: &mut Room) -> Outcome {
    let words = ["run", "--no-log", "--name", "one", "busybox", "echo", "hello"];
    room.words(&words).end()?.prints("hello\n")?;
    let log = room.log();
    room.words(&["rm", "one"]).end()?.succeeds()?;
    so(log.is_empty(), "nothing in the log", format!("{log:?}"))
}

fn stdin_file(room: &mut Room) -> Outcome {
    let file = room.path("input");
    fs::write(&file, "hello\n").expect("write(2)");
    let words = ["run", "-d", "--name", "one", "--stdin", &file.to_string_lossy()];
    let ended = room.words(&[&words[..], &["busybox", "cat"]].concat()).end()?;
    ended.succeeds()?;
    let gone = room.gone("ch05-detach");
    so(gone, "the container to end", "it runs on")?;
    let log = room.log();
    room.words(&["rm", "one"]).end()?.succeeds()?;
    so(log.ends_with(" stdout F hello\n"), "hello in the log", format!("{log:?}"))
}

/// Run a script in a container of this name, to its end.
fn logged(room: &mut Room, name: &str, script: &str) -> Outcome {
    let words = ["run", "--name", name, "busybox", "sh", "-c", script];
    room.words(&words).end()?.succeeds()
}

fn only(room: &mut Room) -> Outcome {
    logged(room, "one", "echo out; echo err >&2")?;
    let ended = room.words(&["logs", "--only", "stderr", "one"]).end();
    room.words(&["rm", "one"]).end()?.succeeds()?;
    let ended = ended?;
    ended.prints("")?;
    ended.so(ended.err == "err\n", "\"err\" on standard error")
}

fn before(room: &mut Room) -> Outcome {
    logged(room, "one", "echo first; sleep 2; echo second")?;
    let log = room.log();
    let second = log.lines().last().unwrap_or_default();
    let time = second.split(' ').next().unwrap_or_default().to_owned();
    let ended = room.words(&["logs", "--until", &time, "one"]).end();
    room.words(&["rm", "one"]).end()?.succeeds()?;
    ended?.prints("first\n")
}

fn several(room: &mut Room) -> Outcome {
    logged(room, "one", "echo 1")?;
    logged(room, "two", "echo 2")?;
    let ended = room.words(&["logs", "one", "two"]).end();
    room.words(&["rm", "one", "two"]).end()?.succeeds()?;
    ended?.prints("one 1\ntwo 2\n")
}

/// Start a container with the name `one`, and wait until `exec` can join it.
fn one(room: &Room) -> Result<Running<'_>, crate::outcome::Trouble> {
    let script = "echo ready; exec sleep 1000";
    let words = ["run", "--rm", "--name", "one", "busybox", "sh", "-c", script];
    let mut running = room.words(&words).start()?;
    running.prints("ready")?;
    // The program may start before the note that it runs is written.
    crate::room::wait_for(|| {
        let joined = room.words(&["exec", "one", "true"]).end();
        joined.is_ok_and(|ended| ended.code == 0).then_some(())
    });
    Ok(running)
}

fn number(room: &mut Room) -> Outcome {
    let running = one(room)?;
    let exec = ["exec", "-d", "one", "sh", "-c", "exec sleep 999"];
    let ended = room.words(&exec).end();
    let is = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| line == b"sleep\0999\0")
    };
    let found = crate::room::wait_for(|| living().into_keys().find(is));
    if let Some(pid) = found.map(Pid::from_raw) {
        // Its parent is now this process. PID 1 of the container cannot end until this
        // process has reaped it.
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
    stop(running);
    let ended = ended?;
    ended.succeeds()?;
    let number = ended.out.trim().parse().ok();
    so(
        number.is_some() && number == found,
        "the number of sleep 999 on the host",
        format!("{:?}", ended.out),
    )
}

fn timeout(room: &mut Room) -> Outcome {
    let running = one(room)?;
    let exec = ["exec", "--timeout", "1", "one", "sleep", "998"];
    let ended = room.words(&exec).end();
    stop(running);
    ended?.exits(124)
}

fn only_net(room: &mut Room) -> Outcome {
    let running = one(room)?;
    let script = "hostname; cat /proc/net/dev";
    let exec = ["exec", "--only", "net", "one", "sh", "-c", script];
    let ended = room.words(&exec).end();
    stop(running);
    let ended = ended?;
    ended.succeeds()?;
    let devices = ended.out.lines().filter(|line| line.contains(':')).count();
    ended.so(ended.out.starts_with("outside\n"), "the host's name first")?;
    ended.so(devices == 1, "no device but lo")
}

fn group_add(room: &mut Room) -> Outcome {
    let flags = ["-u", "7:8", "--group-add", "29", "--group-add", "30"];
    let ended = env(room, &flags, "grep Groups /proc/self/status").end()?;
    ended.succeeds()?;
    let words: Vec<&str> = ended.out.split_whitespace().skip(1).collect();
    let there = ["29", "30"].iter().all(|group| words.contains(group));
    ended.so(there, "the groups 29 and 30")
}

fn unset(room: &mut Room) -> Outcome {
    let flags = ["-e", "A=1", "--unset", "HOME", "--unset", "A"];
    let ended = env(room, &flags, "env").end()?;
    ended.succeeds()?;
    let gone = ended
        .out
        .lines()
        .all(|line| !line.starts_with("HOME=") && !line.starts_with("A="));
    ended.so(gone, "neither HOME nor A")
}

fn umask(room: &mut Room) -> Outcome {
    let script = ": > /file; stat -c %a /file";
    env(room, &["--umask", "077"], script).end()?.prints("600\n")
}
