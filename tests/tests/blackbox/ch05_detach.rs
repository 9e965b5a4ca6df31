//! ch05-detach: detached containers, their supervisors and their logs.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use blackbox::{Call, Lab, Side, Terminal, end_of, until};
use insta::assert_snapshot;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;
use serial_test::file_serial;

const BIN: &str = "ch05-detach";

/// The standard output of a command that succeeds.
fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

/// Start a detached container. Returns its ID.
fn detached(lab: &Lab, words: &[&str]) -> String {
    let id = ok(lab, &[&["run", "-d"], words].concat());
    assert_eq!(id.trim().len(), 12, "{id:?}");
    id.trim().to_owned()
}

fn dir(lab: &Lab, id: &str) -> PathBuf {
    lab.state().join("containers").join(id)
}

fn log(lab: &Lab, id: &str) -> String {
    let bytes = fs::read(dir(lab, id).join("log")).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Each line of a log, without its time.
fn entries(log: &str) -> Vec<&str> {
    log.lines().map(|line| line.split_once(' ').unwrap().1).collect()
}

/// The complete text of one stream, assembled from the entries of a log.
fn text(log: &str, stream: &str) -> String {
    let mut text = String::new();
    for line in log.split_inclusive('\n') {
        let mut words = line.splitn(4, ' ').skip(1);
        if words.next() == Some(stream) {
            let ends = words.next().unwrap().starts_with('F');
            let line = words.next().unwrap();
            text += if ends { line } else { line.strip_suffix('\n').unwrap() };
        }
    }
    text
}

/// Wait until a container and its supervisor have ended. Returns the exit status or
/// the signal.
fn ended(lab: &Lab, id: &str) -> String {
    let running = lab.state().join("running").join(id);
    until(|| !running.exists());
    end_of(&dir(lab, id)).0
}

/// The PID in the note of this kind: `host` or `process`.
fn noted(lab: &Lab, id: &str, kind: &str) -> Pid {
    let notes = fs::read_to_string(lab.state().join("running").join(id)).unwrap();
    let kind = format!("{kind} ");
    let note = notes.lines().find_map(|line| line.strip_prefix(&kind)).unwrap();
    // The PID is followed by the start time.
    Pid::from_raw(note.rsplit(' ').nth(1).unwrap().parse().unwrap())
}

/// Kill the program of a container, and remove the container.
fn remove(lab: &Lab, id: &str) {
    let running = lab.state().join("running").join(id);
    if running.exists() {
        let _ = kill(noted(lab, id, "process"), Signal::SIGKILL);
    }
    until(|| !running.exists());
    ok(lab, &["rm", id]);
}

/// All files that containers have left in the state directory.
fn left(lab: &Lab) -> Vec<PathBuf> {
    let names = ["containers", "running", "names"];
    let entries = names.map(|name| fs::read_dir(lab.state().join(name)));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
#[file_serial(machine)]
fn run_d_returns_when_the_program_runs_and_records_its_exit_status() {
    let lab = Lab::new();
    let words = ["--name", "one", "busybox", "sh", "-c", "echo hello; exit 7"];
    let id = detached(&lab, &words);
    assert_eq!(ended(&lab, &id), "7");
    assert!(end_of(&dir(&lab, &id)).1 > 1_700_000_000);
    assert_eq!(entries(&log(&lab, &id)), ["stdout F hello"]);
    let mode = dir(&lab, &id).join("log").metadata().unwrap().permissions();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(mode.mode() & 0o777, 0o600);
    ok(&lab, &["rm", "one"]);
    assert!(left(&lab).is_empty(), "{:?}", left(&lab));
}

#[test]
#[file_serial(machine)]
fn a_program_killed_by_a_signal_is_recorded_with_the_signal() {
    let lab = Lab::new();
    let id = detached(&lab, &["busybox", "sleep", "1000"]);
    kill(noted(&lab, &id, "process"), Signal::SIGKILL).unwrap();
    assert_eq!(ended(&lab, &id), "SIGKILL");
    remove(&lab, &id);
}

#[test]
#[file_serial(machine)]
fn a_failed_start_returns_its_exit_status_and_leaves_no_files() {
    let lab = Lab::new();
    let bad = format!("{}:/etc/../..", lab.dir().display());
    let missing = format!("{}/none:/v", lab.dir().join("file").display());
    let unlike = format!("{}:/etc", lab.dir().join("file").display());
    fs::write(lab.dir().join("file"), "").unwrap();
    for (words, code, reason) in [
        (&["busybox", "no-such"][..], 127, "exec no-such: not found in PATH"),
        (&["busybox", "/etc/passwd"], 126, "it is not executable"),
        (&["no-image", "true"], 125, "there is no image no-image"),
        (&["sh", "-c", "true"], 125, "hint: the first argument is the image"),
        (&["bash"], 125, "busybox has no bash: run busybox sh"),
        (&["-v", &bad, "busybox", "true"], 2, "invalid value"),
        (&["-v", &missing, "busybox", "true"], 125, "prepare volume: "),
        (&["-v", &unlike, "busybox", "true"], 125, "enter volume: /etc is a direc"),
    ] {
        let mut command = lab.chapter(BIN);
        command.args(["run", "-d", "--name", "one"]).args(words);
        command.assert().code(code).stdout("").stderr(contains(reason));
        assert!(left(&lab).is_empty(), "{words:?}: {:?}", left(&lab));
    }
}

#[test]
#[file_serial(machine)]
fn run_refuses_d_with_t_or_i() {
    let lab = Lab::new();
    for flag in ["-ti", "-t", "-i"] {
        let said = "error: -d cannot be combined with -t or -i: use either -d or \
                    -ti\n";
        let words = ["run", "-d", flag, "busybox", "sh"];
        lab.chapter(BIN).args(words).assert().code(2).stdout("").stderr(said);
    }
    assert!(left(&lab).is_empty());
}

#[test]
#[file_serial(machine)]
fn standard_input_is_empty_and_the_callers_input_is_not_read() {
    let lab = Lab::new();
    let script = "readlink /proc/self/fd/0; wc -c; tty";
    let mut command = lab.chapter(BIN);
    command.args(["run", "-d", "busybox", "sh", "-c", script]);
    let out = command.write_stdin("typed").assert().success();
    let id = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    let id = id.trim();
    assert_eq!(ended(&lab, id), "1");
    let seen = ["stdout F /dev/null", "stdout F 0", "stdout F not a tty"];
    assert_eq!(entries(&log(&lab, id)), seen);
    remove(&lab, id);
}

#[test]
#[file_serial(machine)]
fn ten_thousand_lines_of_both_streams_are_logged_in_order() {
    let lab = Lab::new();
    let script = "i=0; while [ $i -lt 5000 ]; do echo out $i; echo err $i >&2; \
                  i=$((i+1)); done; printf 'no end'";
    let id = detached(&lab, &["busybox", "sh", "-c", script]);
    assert_eq!(ended(&lab, &id), "0");
    let log = log(&lab, &id);
    // A line may be split where a read(2) ended.
    let mut streams = [String::new(), String::new()];
    let mut last = String::new();
    for line in log.lines() {
        let mut words = line.splitn(4, ' ');
        let time = words.next().unwrap();
        assert!(last.as_str() <= time, "{last} {time}");
        assert_eq!(time.len(), "2026-11-21T22:00:00.123456789Z".len());
        last = time.to_owned();
        let stream = &mut streams[usize::from(words.next() == Some("stderr"))];
        let tags = words.next().unwrap();
        let within = !stream.is_empty() && !stream.ends_with('\n');
        assert_eq!(tags.ends_with(":+"), within, "{line}");
        stream.push_str(words.next().unwrap());
        if tags.starts_with('F') {
            stream.push('\n');
        }
    }
    let lines =
        |word: &str| (0..5000).map(|i| format!("{word} {i}\n")).collect::<String>();
    assert!(streams[0] == lines("out") + "no end");
    assert!(streams[1] == lines("err"));
    remove(&lab, &id);
}

#[test]
#[file_serial(machine)]
fn output_that_is_still_in_the_pipes_at_the_end_is_logged() {
    let lab = Lab::new();
    let volume = format!("{}:/v", lab.dir().join("v").display());
    let script = "until [ -e /v/go ]; do sleep 0.05; done; seq 9000";
    let id = detached(&lab, &["-v", &volume, "busybox", "sh", "-c", script]);
    let (host, program) = (noted(&lab, &id, "host"), noted(&lab, &id, "process"));
    // The supervisor does not read until everything is printed and the program has ended.
    kill(host, Signal::SIGSTOP).unwrap();
    until(|| stat(host)[0] == "T");
    fs::write(lab.dir().join("v/go"), "").unwrap();
    until(|| stat(program)[0] == "Z");
    kill(host, Signal::SIGCONT).unwrap();
    assert_eq!(ended(&lab, &id), "0");
    let all: String = (1..=9000).map(|n| format!("{n}\n")).collect();
    assert!(text(&log(&lab, &id), "stdout") == all);
    remove(&lab, &id);
}

#[test]
#[file_serial(machine)]
fn the_log_preserves_the_order_of_the_two_streams() {
    let lab = Lab::new();
    // The program prints the next line only after the log contains the previous one.
    let volume = format!("{}:/v", lab.dir().join("v").display());
    let script = "i=0; while [ $i -lt 10 ]; do \
                  echo out $i; until [ -e /v/o$i ]; do :; done; \
                  echo err $i >&2; until [ -e /v/e$i ]; do :; done; \
                  i=$((i+1)); done";
    let id = detached(&lab, &["-v", &volume, "busybox", "sh", "-c", script]);
    let mut expected = Vec::new();
    for i in 0..10 {
        for (stream, word) in [("stdout", "out"), ("stderr", "err")] {
            expected.push(format!("{stream} F {word} {i}"));
            until(|| entries(&log(&lab, &id)) == expected);
            let file = format!("v/{}{i}", &word[..1]);
            fs::write(lab.dir().join(file), "").unwrap();
        }
    }
    assert_eq!(ended(&lab, &id), "0");
    remove(&lab, &id);
}

#[test]
#[file_serial(machine)]
fn a_foreground_run_shows_and_logs_output_and_returns_the_exit_status() {
    let lab = Lab::new();
    let script = "echo out; echo err >&2; printf typed:; cat; exit 5";
    let mut command = lab.chapter(BIN);
    command.args(["run", "--name", "one", "busybox", "sh", "-c", script]);
    let run = command.write_stdin("keys\n").assert().code(5);
    run.stdout("out\ntyped:keys\n").stderr("err\n");
    let id = fs::read_link(lab.state().join("names/one")).unwrap();
    let log = log(&lab, id.to_str().unwrap());
    assert_eq!(text(&log, "stdout"), "out\ntyped:keys\n");
    assert_eq!(text(&log, "stderr"), "err\n");
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn a_megabyte_of_foreground_output_arrives_unchanged() {
    let lab = Lab::new();
    let script = "head -c 1000000 /dev/urandom > /x; cat /x; cat /x >&2";
    let run = lab
        .chapter(BIN)
        .args(["run", "--name", "one", "busybox", "sh", "-c", script])
        .assert()
        .success();
    let id = fs::read_link(lab.state().join("names/one")).unwrap();
    let printed = fs::read(dir(&lab, id.to_str().unwrap()).join("upper/x")).unwrap();
    assert!(printed.len() == 1_000_000 && run.get_output().stdout == printed);
    assert!(run.get_output().stderr == printed);
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn a_program_gets_an_error_if_its_reader_closes_the_pipe() {
    let lab = Lab::new();
    let mut command = lab.command(&[], BIN);
    command.args(["run", "--rm", "busybox", "yes"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = command.spawn().unwrap();
    drop(run.stdout.take());
    // A PID 1 without a handler does not get SIGPIPE, but write(2) fails.
    let out = run.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("Broken pipe"), "{said}");
}

#[test]
#[file_serial(machine)]
fn the_output_of_a_terminal_is_logged_as_one_stream() {
    let lab = Lab::new();
    let mut command = lab.command(&[], BIN);
    command.args(["run", "-ti", "--name", "one", "busybox", "sh"]);
    let mut terminal = Terminal::run(command);
    terminal.see("/ # ");
    terminal.type_keys("echo o$((1+1))t; echo e$((1+1))r >&2; exit 4\n");
    terminal.see("e2r");
    assert_eq!(terminal.end(), 4);
    let id = fs::read_link(lab.state().join("names/one")).unwrap();
    let log = log(&lab, id.to_str().unwrap());
    let seen = text(&log, "stdout");
    assert!(seen.ends_with("exit 4\r\no2t\r\ne2r\r\n"), "{seen}");
    assert_eq!(text(&log, "stderr"), "");
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn a_hangup_of_the_callers_terminal_does_not_reach_the_program() {
    let lab = Lab::new();
    let program = "trap 'echo hung up' HUP; trap 'exit 9' TERM; echo ready; \
                   while :; do sleep 0.1; done";
    let bin = blackbox::bin_dir().join(BIN);
    let script = "\"$0\" run -d --name one busybox sh -c \"$1\"; echo told; cat";
    // A shell with a controlling terminal, and a child that leaves its session.
    let mut shell = Command::new("sh");
    shell.env("MYDOCKER_ROOT", lab.state()).args(["-c", script]);
    shell.arg(bin).arg(program);
    let mut terminal = Terminal::run(shell);
    terminal.see("told");
    let id = fs::read_link(lab.state().join("names/one")).unwrap();
    let id = id.to_str().unwrap();
    until(|| log(&lab, id).contains("ready"));
    let shell = terminal.pid();
    // The hangup: the kernel sends SIGHUP to the processes of this terminal, which ends
    // the shell.
    drop(terminal);
    let gone = Path::new("/proc").join(shell.to_string()).join("exe");
    until(|| fs::read_link(&gone).is_err());
    // An earlier SIGHUP would have been handled before this signal.
    kill(noted(&lab, id, "host"), Signal::SIGTERM).unwrap();
    assert_eq!(ended(&lab, id), "9");
    assert_eq!(entries(&log(&lab, id)), ["stdout F ready"]);
    remove(&lab, id);
}

/// The fields of /proc/PID/stat after the name.
fn stat(pid: Pid) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').map(str::to_owned).collect()
}

fn status(pid: Pid, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
#[file_serial(machine)]
fn the_supervisor_keeps_no_resources_of_the_caller() {
    let lab = Lab::new();
    let held = fs::File::create(lab.dir().join("held")).unwrap();
    let number = nix::unistd::dup(&held).unwrap();
    let mut command = lab.chapter(BIN);
    // The command inherits the descriptor, because it is not close-on-exec.
    assert!(number.as_raw_fd() > 2);
    let out = command.args(["run", "-d", "busybox", "sleep", "1000"]).assert();
    let id = String::from_utf8(out.success().get_output().stdout.clone()).unwrap();
    let id = id.trim();
    let pids = [noted(&lab, id, "host"), noted(&lab, id, "process")];
    for pid in pids {
        let open: BTreeSet<_> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            // A descriptor that is closed during this loop is ignored.
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .collect();
        assert!(!open.iter().any(|path| path.ends_with("held")), "{open:?}");
        for standard in 0..3 {
            let path = fs::read_link(format!("/proc/{pid}/fd/{standard}")).unwrap();
            let null = path == Path::new("/dev/null");
            assert_eq!(null, pid == pids[0] || standard == 0, "{pid} {path:?}");
        }
        // There is no controlling terminal, and the supervisor is the session leader.
        let fields = stat(pid);
        assert_eq!(fields[3], pids[0].to_string());
        assert_eq!(fields[4], "0");
    }
    let cwd = fs::read_link(format!("/proc/{}/cwd", pids[0])).unwrap();
    assert_eq!(cwd, Path::new("/"));
    assert_eq!(status(pids[0], "Umask"), "0022");
    // The program has only its three standard streams.
    let open = fs::read_dir(format!("/proc/{}/fd", pids[1])).unwrap().count();
    assert_eq!(open, 3);
    remove(&lab, id);
}

#[test]
#[file_serial(machine)]
fn an_idle_supervisor_uses_little_memory_and_never_wakes_up() {
    let lab = Lab::new();
    let id = detached(&lab, &["busybox", "sleep", "1000"]);
    let host = noted(&lab, &id, "host");
    // The supervisor still runs for a short time after its report to the caller.
    until(|| stat(host)[0] == "S");
    sleep(Duration::from_millis(200));
    let switches = || status(host, "voluntary_ctxt_switches");
    let before = switches();
    sleep(Duration::from_secs(2));
    assert_eq!(switches(), before);
    let rollup = fs::read_to_string(format!("/proc/{host}/smaps_rollup")).unwrap();
    // Do not use Private_Dirty: it includes the binary itself if that is on a tmpfs.
    let own = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = own.unwrap().trim().trim_end_matches(" kB").parse::<u32>().unwrap();
    assert!(kib < 256, "{rollup}");
    remove(&lab, &id);
}

#[test]
#[file_serial(machine)]
fn fifty_concurrent_starts_create_fifty_running_containers() {
    let lab = Lab::new();
    let start = |_| {
        let mut command = lab.command(&[], BIN);
        command.args(["run", "-d", "busybox", "sleep", "1000"]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<Child> = (0..50).map(start).collect();
    let mut ids = BTreeSet::new();
    for run in all {
        let out = run.wait_with_output().unwrap();
        assert!(out.status.success());
        ids.insert(String::from_utf8(out.stdout).unwrap().trim().to_owned());
    }
    assert_eq!(ids.len(), 50);
    for id in &ids {
        assert!(dir(&lab, id).join("record").exists());
        let program = noted(&lab, id, "process");
        assert_eq!(status(program, "PPid"), noted(&lab, id, "host").to_string());
    }
    ids.iter().for_each(|id| remove(&lab, id));
    assert!(left(&lab).is_empty(), "{:?}", left(&lab));
}

#[test]
#[file_serial(machine)]
fn only_one_of_many_containers_with_the_same_name_starts() {
    let lab = Lab::new();
    let start = |_| {
        let mut command = lab.command(&[], BIN);
        command.args(["run", "-d", "--name", "one", "busybox", "sleep", "1000"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<Child> = (0..8).map(start).collect();
    let mut winners = Vec::new();
    for run in all {
        let out = run.wait_with_output().unwrap();
        let [out, err] =
            [out.stdout, out.stderr].map(|b| String::from_utf8(b).unwrap());
        match out.trim() {
            "" => {
                assert!(err.contains("the name one is already in use by"), "{err}")
            }
            id => winners.push(id.to_owned()),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let id = fs::read_link(lab.state().join("names/one")).unwrap();
    assert_eq!(id, Path::new(&winners[0]));
    assert_eq!(fs::read_dir(lab.state().join("containers")).unwrap().count(), 1);
    remove(&lab, &winners[0]);
}

#[test]
#[file_serial(machine)]
fn a_container_ends_with_its_killed_supervisor_and_rm_removes_it() {
    let lab = Lab::new();
    // PID 1 ignores SIGTERM, SIGINT and SIGHUP, and the container has a second
    // process.
    let script = "trap '' TERM INT HUP; sleep 1000 & while :; do sleep 1000; done";
    let id = detached(&lab, &["--name", "one", "busybox", "sh", "-c", script]);
    let [host, program] = ["host", "process"].map(|kind| noted(&lab, &id, kind));
    kill(host, Signal::SIGKILL).unwrap();
    until(|| !Path::new(&format!("/proc/{program}/exe")).exists());
    assert!(!dir(&lab, &id).join("ended").is_symlink());
    ok(&lab, &["rm", "one"]);
    assert!(left(&lab).is_empty(), "{:?}", left(&lab));
}

#[test]
#[file_serial(machine)]
fn the_supervisor_forwards_sigterm_to_the_program() {
    let lab = Lab::new();
    let script = "trap 'echo asked; exit 9' TERM; echo ready; \
                  while :; do sleep 0.1; done";
    let id = detached(&lab, &["busybox", "sh", "-c", script]);
    until(|| log(&lab, &id).contains("ready"));
    kill(noted(&lab, &id, "host"), Signal::SIGTERM).unwrap();
    assert_eq!(ended(&lab, &id), "9");
    assert_eq!(entries(&log(&lab, &id)), ["stdout F ready", "stdout F asked"]);
    remove(&lab, &id);
}

/// Kill the caller of `run -d` before the nth call of the system call `number` on
/// `side`. All other processes run until they end.
fn caller_killed_at(lab: &Lab, side: Side, number: i64, nth: usize) {
    let run = lab.faulty(BIN, Some(number), |command| {
        command.args(["run", "-d", "--name", "one", "busybox", "true"])
    });
    let (arguments, what, place) = ([0; 6], String::new(), Vec::new());
    let call = Call { side, number, nth, arguments, what, place };
    let outcome = run.killed(&call, Side::Host);
    assert!(outcome.reached, "{call:?}");
    assert_eq!(outcome.code, 137, "{call:?}");
}

#[test]
#[file_serial(machine)]
fn a_caller_killed_before_the_report_of_the_start_leaves_no_container() {
    let lab = Lab::new();
    // The start of the supervisor; its clone3(2); the child in the middle of its setup;
    // the last steps before the supervisor reports.
    for (number, nth) in [
        (libc::SYS_setsid, 1),
        (libc::SYS_clone3, 1),
        (libc::SYS_pivot_root, 1),
        (libc::SYS_prctl, 3),
        (libc::SYS_prctl, 4),
    ] {
        caller_killed_at(&lab, Side::Guest, number, nth);
        assert!(left(&lab).is_empty(), "{number}: {:?}", left(&lab));
    }
}

#[test]
#[file_serial(machine)]
fn a_caller_killed_after_the_report_of_the_start_leaves_a_container() {
    let lab = Lab::new();
    caller_killed_at(&lab, Side::Host, libc::SYS_write, 1);
    let id = fs::read_link(lab.state().join("names/one")).unwrap();
    assert_eq!(ended(&lab, id.to_str().unwrap()), "0");
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_can_start_detached_containers() {
    let lab = Lab::new();
    let run = lab
        .as_user(BIN)
        .args(["run", "-d", "--name", "one", "busybox", "sh", "-c", "id -u; exit 3"])
        .assert()
        .success();
    let out = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    let id = out.trim();
    let state = lab.user_state();
    until(|| !state.join("running").join(id).exists());
    let log = fs::read_to_string(state.join("containers").join(id).join("log"));
    assert_eq!(entries(&log.unwrap()), ["stdout F 0"]);
    lab.as_user(BIN).args(["rm", "one"]).assert().success();
}

#[test]
#[file_serial(machine)]
fn with_rm_no_files_remain_after_the_end() {
    let lab = Lab::new();
    detached(&lab, &["--rm", "--name", "one", "busybox", "true"]);
    until(|| left(&lab).is_empty());
}

#[test]
#[file_serial(machine)]
fn the_trace_of_a_detached_start_ends_when_the_program_runs() {
    let lab = Lab::new();
    let mut command = lab.chapter(BIN);
    let words = ["run", "-d", "--trace", "busybox", "true"];
    let out = command.args(words).assert().success();
    let trace = String::from_utf8(out.get_output().stderr.clone()).unwrap();
    for step in ["parent prepare", "child  enter", "execve(2) true"] {
        assert!(trace.contains(step), "{trace}");
    }
    assert!(!trace.contains("parent wait"), "{trace}");
    let out = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    remove(&lab, out.trim());
}

#[test]
#[file_serial(machine)]
fn a_full_disk_does_not_end_the_program_and_the_log_reports_the_lost_bytes() {
    use nix::mount::{MsFlags, mount, umount};
    let lab = Lab::new();
    let small = lab.dir().join("small");
    fs::create_dir(&small).unwrap();
    let none = None::<&str>;
    let size = Some("size=12m");
    mount(none, &small, Some("tmpfs"), MsFlags::empty(), size).unwrap();
    let state = small.join("state");
    let chapter = |words: &[&str]| {
        let mut command = lab.chapter(BIN);
        let out = command.env("MYDOCKER_ROOT", &state).args(words).assert();
        String::from_utf8(out.success().get_output().stdout.clone()).unwrap()
    };
    chapter(&["images"]);
    let wait = "until [ -e /v/$n ]; do sleep 0.05; done";
    let script = format!(
        "dd if=/dev/zero of=/fill bs=4k 2> /dev/null; n=print; : > /v/full; {wait}; \
         echo lost; n=go; {wait}; rm /fill; echo kept"
    );
    let volume = lab.dir().join("v");
    let spec = format!("{}:/v", volume.display());
    let words = ["run", "-d", "--name", "one", "-v", &spec, "busybox", "sh", "-c"];
    let id = chapter(&[&words[..], &[script.as_str()]].concat());
    until(|| volume.join("full").exists());
    let notes = fs::read_to_string(state.join("running").join(id.trim())).unwrap();
    let host = notes.split("\nhost ").nth(1).unwrap();
    let io = format!("/proc/{}/io", host.split(' ').next().unwrap());
    let writes = || {
        let io = fs::read_to_string(&io).unwrap();
        io.lines().find(|line| line.starts_with("syscw")).unwrap().to_owned()
    };
    let before = writes();
    fs::write(volume.join("print"), "").unwrap();
    until(|| writes() != before);
    fs::write(volume.join("go"), "").unwrap();
    until(|| !state.join("running").join(id.trim()).exists());
    let log =
        fs::read(state.join("containers").join(id.trim()).join("log")).unwrap();
    let log = String::from_utf8(log).unwrap();
    let lost = "stderr F mydocker: 5 bytes of output were lost";
    assert_eq!(entries(&log), [lost, "stdout F kept"]);
    // The supervisor has its lock file on this disk open until it has ended.
    until(|| umount(&small).is_ok());
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch05-detach-help", ok(&lab, &["--help"]));
    assert_snapshot!("ch05-detach-run-help", ok(&lab, &["run", "-h"]));
}
