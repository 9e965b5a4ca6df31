//! ch05-logs: the output of containers, read while they run and after their end.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::Duration;

use blackbox::{Lab, Terminal, until};
use insta::assert_snapshot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;
use serial_test::file_serial;

const BIN: &str = "ch05-logs";

/// The output of a command that succeeds, on both streams.
fn both(lab: &Lab, words: &[&str]) -> [String; 2] {
    let run = lab.chapter(BIN).args(words).assert().success();
    let out = run.get_output();
    [&out.stdout, &out.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap())
}

fn ok(lab: &Lab, words: &[&str]) -> String {
    let [out, err] = both(lab, words);
    assert_eq!(err, "");
    out
}

/// Run a script to its end, in a container with the name "one".
fn one(lab: &Lab, script: &str) {
    let words = ["run", "--name", "one", "busybox", "sh", "-c", script];
    lab.chapter(BIN).args(words).assert().success();
}

/// Start a detached container with the name "one". Returns its ID.
fn detached(lab: &Lab, script: &str) -> String {
    let volume = format!("{}:/v", lab.dir().join("v").display());
    let words = ["run", "-d", "--name", "one", "-v", &volume, "busybox", "sh", "-c"];
    ok(lab, &[&words[..], &[script]].concat()).trim().to_owned()
}

fn log(lab: &Lab) -> PathBuf {
    let id = fs::read_link(lab.state().join("names/one")).unwrap();
    lab.state().join("containers").join(id).join("log")
}

/// The PID in the note of this kind of "one": `host` or `process`.
fn noted(lab: &Lab, kind: &str) -> Pid {
    let id = fs::read_link(lab.state().join("names/one")).unwrap();
    let notes = fs::read_to_string(lab.state().join("running").join(id)).unwrap();
    let kind = format!("{kind} ");
    let note = notes.lines().find_map(|line| line.strip_prefix(&kind)).unwrap();
    // The PID is followed by the start time.
    Pid::from_raw(note.rsplit(' ').nth(1).unwrap().parse().unwrap())
}

/// Wait until the container has ended, and remove it.
fn remove(lab: &Lab) {
    let running = lab.state().join("running");
    until(|| fs::read_dir(&running).unwrap().count() == 0);
    ok(lab, &["rm", "one"]);
}

/// Start `logs -f`. Returns the process and its output.
fn following(lab: &Lab, words: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut command = lab.command(&[], BIN);
    command.arg("logs").args(words).arg("one");
    let mut follows = command.stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(follows.stdout.take().unwrap());
    (follows, out)
}

fn line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line
}

#[test]
#[file_serial(machine)]
fn logs_prints_each_stream_unchanged_until_rm() {
    let lab = Lab::new();
    one(&lab, "echo out; echo err >&2; printf '\\377 no end'");
    let run = lab.chapter(BIN).args(["logs", "one"]).assert().success();
    assert_eq!(run.get_output().stdout, b"out\n\xff no end");
    assert_eq!(run.get_output().stderr, b"err\n");
    remove(&lab);
    let gone = contains("container \"one\" not found");
    lab.chapter(BIN).args(["logs", "one"]).assert().code(125).stderr(gone);
}

#[test]
#[file_serial(machine)]
fn logs_keeps_the_order_if_both_streams_are_one_file() {
    let lab = Lab::new();
    one(&lab, "echo");
    let time = "2026-11-21T22:00:00.000000000Z";
    let text = |i: u32| {
        let stream = if i.is_multiple_of(3) { "stderr" } else { "stdout" };
        format!("{time} {stream} F {i}\n")
    };
    fs::write(log(&lab), (0..5000).map(text).collect::<String>()).unwrap();
    let file = lab.dir().join("both");
    let both = fs::File::create(&file).unwrap();
    let mut command = lab.command(&[], BIN);
    command.args(["logs", "one"]).stdout(both.try_clone().unwrap()).stderr(both);
    assert!(command.status().unwrap().success());
    let expected: String = (0..5000).map(|i| format!("{i}\n")).collect();
    assert!(fs::read_to_string(file).unwrap() == expected);
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn tail_counts_lines_and_not_parts_of_lines() {
    let lab = Lab::new();
    one(&lab, "echo");
    let time = "2026-11-21T22:00:00.000000000Z";
    let entries = [
        "stdout F first",
        "stdout P sec",
        "stderr F third",
        "stdout F:+ ond",
        "stdout P last",
    ];
    let text = entries.map(|entry| format!("{time} {entry}\n")).concat();
    fs::write(log(&lab), text).unwrap();
    for (count, out, err) in [
        ("0", "", ""),
        ("1", "last", ""),
        // The end of a line whose beginning is not shown is not shown either.
        ("2", "last", "third\n"),
        ("3", "second\nlast", "third\n"),
        ("4", "first\nsecond\nlast", "third\n"),
        ("99", "first\nsecond\nlast", "third\n"),
    ] {
        let seen = both(&lab, &["logs", "--tail", count, "one"]);
        assert_eq!(seen, [out, err], "{count}");
    }
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn tail_reads_a_huge_log_from_its_end() {
    let lab = Lab::new();
    one(&lab, "echo last");
    // A gigabyte of zeros, as a hole, before the last lines.
    let last = fs::read(log(&lab)).unwrap();
    let mut file = fs::File::create(log(&lab)).unwrap();
    file.set_len(1 << 30).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    file.write_all(&[b"\n", &last[..], &last[..]].concat()).unwrap();
    let mut command = lab.command(&[], BIN);
    // The whole file would not fit into memory.
    command.args(["logs", "--tail", "2", "one"]).stdout(Stdio::piped());
    let out = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(out.stdout, b"last\nlast\n");
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn since_accepts_a_time_or_a_duration() {
    let lab = Lab::new();
    one(&lab, "echo");
    let text = "2001-01-01T00:00:00.5Z stdout F old\n\
                2001-01-01T00:00:01.000000001Z stdout P half\n\
                2001-01-01T00:00:02.000000000Z stdout F:+  a line\n\
                2001-01-01T00:00:03.000000000Z stdout F new\n";
    fs::write(log(&lab), text).unwrap();
    for (since, seen) in [
        ("2001-01-01T00:00:00Z", "old\nhalf a line\nnew\n"),
        ("2001-01-01T01:00:01.000000001+01:00", "half a line\nnew\n"),
        ("2001-01-01T00:00:01.000000002Z", "new\n"),
        ("2001-01-01T00:00:03Z", "new\n"),
        ("10m", ""),
    ] {
        assert_eq!(ok(&lab, &["logs", "--since", since, "one"]), seen, "{since}");
    }
    let words = ["logs", "--since", "2001-01-01T00:00:01Z", "--tail", "1", "one"];
    assert_eq!(ok(&lab, &words), "new\n");
    let refused = "invalid value 'yesterday' for '--since <TIME|DURATION>': \
                   \"yesterday\" is neither a time such as 2026-11-21T22:00:00Z nor a \
                   duration such as 90s, 10m or 1h30m";
    let words = ["logs", "--since", "yesterday", "one"];
    lab.chapter(BIN).args(words).assert().code(2).stderr(contains(refused));
    remove(&lab);
    // Output that is printed now is not older than ten minutes.
    one(&lab, "echo now");
    assert_eq!(ok(&lab, &["logs", "--since", "10m", "one"]), "now\n");
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn timestamps_are_printed_before_lines() {
    let lab = Lab::new();
    one(&lab, "echo");
    let text = "2001-01-01T00:00:01Z stdout P half\n\
                2001-01-01T00:00:02Z stdout F:+  a line\n\
                2001-01-01T00:00:03.000000004Z stdout F new\n";
    fs::write(log(&lab), text).unwrap();
    assert_eq!(
        ok(&lab, &["logs", "--timestamps", "one"]),
        "2001-01-01T00:00:01.000000000Z half a line\n\
         2001-01-01T00:00:03.000000004Z new\n"
    );
    remove(&lab);
}

/// The terminal would send its answer as input to the shell of the user that reads the
/// log.
#[test]
#[file_serial(machine)]
fn logs_does_not_send_terminal_queries_to_a_terminal() {
    let lab = Lab::new();
    one(&lab, r"printf '\033[31mred\033[6n\033]11;?\007\n'; printf 'end\033[c\n'");
    // The log is written unchanged to a pipe.
    let text = "\x1b[31mred\x1b[6n\x1b]11;?\x07\nend\x1b[c\n";
    assert_eq!(ok(&lab, &["logs", "one"]), text);
    let mut command = lab.command(&[], BIN);
    command.args(["logs", "one"]);
    let mut terminal = Terminal::run(command);
    let shown = terminal.see("end\r\n");
    assert_eq!(shown, "\x1b[31mred\r\n");
    assert_eq!(terminal.end(), 0);
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn logs_skips_damaged_lines_and_shows_an_incomplete_last_line() {
    let lab = Lab::new();
    one(&lab, "echo");
    let text = "2001-01-01T00:00:01Z stdout F whole\n\0\0\0\0\nnonsense\n\n\
                2001-01-01T00:00:02Z stdout F also whole\n\
                2001-01-01T00:00:03Z stdout F cut o";
    fs::write(log(&lab), text).unwrap();
    for words in [&["logs", "one"][..], &["logs", "-f", "one"]] {
        assert_eq!(ok(&lab, words), "whole\nalso whole\ncut o");
    }
    fs::write(log(&lab), "2001-01-01T00:00:01Z stdout F whole\n2001-01-").unwrap();
    assert_eq!(ok(&lab, &["logs", "one"]), "whole\n");
    assert_eq!(ok(&lab, &["logs", "--tail", "1", "one"]), "whole\n");
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn logs_f_prints_line_by_line_and_ends_with_the_container() {
    let lab = Lab::new();
    let script = "echo before; i=0; while [ $i -lt 5 ]; do \
                  until [ -e /v/$i ]; do sleep 0.05; done; echo $i; i=$((i+1)); done; \
                  seq 1000";
    detached(&lab, script);
    let (mut follows, mut out) = following(&lab, &["-f"]);
    assert_eq!(line(&mut out), "before\n");
    let (mut tails, mut tail) = following(&lab, &["-f", "--tail", "0"]);
    // Both have printed the existing log and wait. Only then does the program print more.
    let asleep = |child: &Child| {
        let stat =
            fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap();
        stat.contains("poll")
    };
    until(|| asleep(&follows) && asleep(&tails));
    for number in 0..5 {
        fs::write(lab.dir().join(format!("v/{number}")), "").unwrap();
        assert_eq!(line(&mut out), format!("{number}\n"));
        assert_eq!(line(&mut tail), format!("{number}\n"));
    }
    let all: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    for (child, out) in [(&mut follows, &mut out), (&mut tails, &mut tail)] {
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert!(rest == all, "{rest}");
        assert!(child.wait().unwrap().success());
    }
    // After the end of the container, `logs -f` does not wait.
    let seen = ok(&lab, &["logs", "-f", "one"]);
    assert_eq!(seen, format!("before\n0\n1\n2\n3\n4\n{all}"));
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn logs_f_does_not_poll() {
    let lab = Lab::new();
    detached(&lab, "echo ready; exec sleep 1000");
    let (mut follows, mut out) = following(&lab, &["-f"]);
    assert_eq!(line(&mut out), "ready\n");
    let status = format!("/proc/{}/status", follows.id());
    let switches = || {
        let text = fs::read_to_string(&status).unwrap();
        let mut lines = text.lines();
        lines.find(|line| line.starts_with("voluntary_ctxt")).unwrap().to_owned()
    };
    sleep(Duration::from_millis(300));
    let before = switches();
    sleep(Duration::from_secs(2));
    assert_eq!(switches(), before);
    kill(noted(&lab, "process"), Signal::SIGKILL).unwrap();
    assert!(follows.wait().unwrap().success());
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn logs_f_ends_when_the_supervisor_is_killed() {
    let lab = Lab::new();
    detached(&lab, "echo ready; exec sleep 1000");
    let (mut follows, mut out) = following(&lab, &["-f"]);
    assert_eq!(line(&mut out), "ready\n");
    kill(noted(&lab, "host"), Signal::SIGKILL).unwrap();
    assert!(follows.wait().unwrap().success());
    assert_eq!(line(&mut out), "");
    // The output of a dead container can be read until the container is removed.
    assert_eq!(ok(&lab, &["logs", "one"]), "ready\n");
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn logs_f_ends_when_its_reader_closes_the_pipe() {
    let lab = Lab::new();
    detached(&lab, "echo ready; exec sleep 1000");
    let (mut follows, mut out) = following(&lab, &["-f"]);
    assert_eq!(line(&mut out), "ready\n");
    // The program prints nothing more, so no write(2) can fail.
    drop(out);
    assert!(follows.wait().unwrap().success());
    kill(noted(&lab, "process"), Signal::SIGKILL).unwrap();
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn logs_f_prints_the_last_line_of_a_container_with_rm() {
    let lab = Lab::new();
    let volume = format!("{}:/v", lab.dir().join("v").display());
    let script = "echo first; until [ -e /v/go ]; do sleep 0.05; done; seq 500";
    let words =
        ["run", "-d", "--rm", "--name", "one", "-v", &volume, "busybox", "sh", "-c"];
    ok(&lab, &[&words[..], &[script]].concat());
    let (mut follows, mut out) = following(&lab, &["-f"]);
    assert_eq!(line(&mut out), "first\n");
    fs::write(lab.dir().join("v/go"), "").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.lines().count(), 500);
    assert!(follows.wait().unwrap().success());
    let running = lab.state().join("running");
    until(|| fs::read_dir(&running).unwrap().count() == 0);
}

#[test]
#[file_serial(machine)]
fn logs_says_why_a_container_has_no_log() {
    let lab = Lab::new();
    let words = ["run", "--name", "one", "busybox", "true"];
    lab.chapter("ch04-commit").args(words).assert().success();
    let none = "error: container one has no log: it was started by a chapter before \
         ch05-detach\n";
    lab.chapter(BIN).args(["logs", "one"]).assert().code(125).stderr(none);
    remove(&lab);
    // A container that is being started has no log yet: its lock is held, and no
    // process is noted.
    one(&lab, "true");
    let log = log(&lab);
    fs::remove_file(&log).unwrap();
    fs::remove_file(log.with_file_name("ended")).unwrap();
    let id = log.parent().unwrap().file_name().unwrap();
    let lock = lab.state().join("running").join(id);
    fs::write(&lock, "format 1 ch05-logs\n").unwrap();
    let held = fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let none = "error: container one has no log: it is being started\n";
    lab.chapter(BIN).args(["logs", "one"]).assert().code(125).stderr(none);
    drop(held);
    fs::remove_file(&lock).unwrap();
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn logs_f_started_as_soon_as_the_log_exists_prints_all_of_it() {
    let lab = Lab::new();
    let run = lab.traced(BIN, |command| {
        let words = ["run", "--name", "one", "busybox", "echo", "line"];
        command.args(words).stdout(Stdio::null())
    });
    let mut run = run.beside_others();
    let name = lab.state().join("names/one");
    while name.symlink_metadata().is_err() || !log(&lab).exists() {
        run.step().unwrap();
    }
    let mut command = lab.command(&[], BIN);
    command.args(["logs", "-f", "one"]).stdout(Stdio::piped());
    let mut follows = command.spawn().unwrap();
    // It sleeps in poll(2), or has ended.
    let path = format!("/proc/{}/syscall", follows.id());
    let polls = [nix::libc::SYS_poll, nix::libc::SYS_ppoll];
    let polls = polls.map(|number| format!("{number} "));
    until(|| {
        let call = fs::read_to_string(&path).unwrap_or_default();
        polls.iter().any(|poll| call.starts_with(poll))
            || follows.try_wait().unwrap().is_some()
    });
    assert_eq!(run.end_beside_others(), 0);
    let mut seen = String::new();
    follows.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    let _ = follows.wait();
    assert_eq!(seen, "line\n");
    remove(&lab);
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_can_read_logs() {
    let lab = Lab::new();
    let words = ["run", "--name", "one", "busybox", "echo", "hello"];
    lab.as_user(BIN).args(words).assert().success();
    let mut logs = lab.as_user(BIN);
    logs.args(["logs", "-f", "one"]).assert().success().stdout("hello\n");
    lab.as_user(BIN).args(["rm", "one"]).assert().success();
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch05-logs-help", ok(&lab, &["--help"]));
    assert_snapshot!("ch05-logs-logs-help", ok(&lab, &["logs", "-h"]));
}
