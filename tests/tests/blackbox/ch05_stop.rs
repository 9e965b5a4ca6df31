//! ch05-stop: stop, kill and wait.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use blackbox::{CAT, Caller, Lab, all, end, living, only, started, until};
use insta::assert_snapshot;
use predicates::str::contains;
use serde_json::Value;
use serial_test::file_serial;

const BIN: &str = "ch05-stop";

/// A script that handles SIGTERM and ends.
const HANDLES: &str =
    "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.02; done";

/// A script that ignores SIGTERM, with two children.
const IGNORES: &str =
    "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo ready; wait; wait; wait";

fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().success().stderr("");
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

fn run(lab: &Lab, name: &str, script: &str) -> Child {
    started(lab.command(&[], BIN), &["run", "--name", name], script)
}

/// The entry of the container with this name in the output of `ps --json`.
fn listed(lab: &Lab, name: &str) -> Value {
    let mut all = all(lab.chapter(BIN)).into_iter();
    all.find(|one| one["name"] == name).unwrap()
}

/// Wait until this process sleeps in flock(2), which has no timeout.
fn sleeps_in_flock(process: &Child) {
    let path = format!("/proc/{}/syscall", process.id());
    let number = format!("{} ", nix::libc::SYS_flock);
    until(|| fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&number)));
}

/// Start a command of this chapter.
fn spawn(lab: &Lab, words: &[&str]) -> Child {
    let mut command = lab.command(&[], BIN);
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The output of a command and its exit status.
fn said(mut process: Child) -> (String, String, Option<i32>) {
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    process.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (out, err, process.wait().unwrap().code())
}

#[test]
#[file_serial(machine)]
fn stop_returns_after_the_exit_status_of_a_sigterm_handler_is_recorded() {
    for caller in Caller::BOTH {
        let lab = Lab::new();
        let mut run =
            started(caller.command(&lab, BIN), &["run", "--name", "web"], HANDLES);
        caller
            .chapter(&lab, BIN)
            .args(["stop", "web"])
            .assert()
            .success()
            .stdout("web\n");
        // The test need not wait here: when `stop` returns, the end is recorded.
        let (_, web) = only(caller.chapter(&lab, BIN));
        assert_eq!((&web["status"], &web["code"]), (&"exited".into(), &7.into()));
        let mut out = String::new();
        run.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!((out.as_str(), run.wait().unwrap().code()), ("bye\n", Some(7)));
        // `stop` also succeeds for a container that has already ended.
        caller
            .chapter(&lab, BIN)
            .args(["stop", "web"])
            .assert()
            .success()
            .stdout("web\n");
        caller.chapter(&lab, BIN).args(["rm", "web"]).assert().success();
    }
}

#[test]
#[file_serial(machine)]
fn stop_sends_the_stop_signal_of_the_image() {
    let lab = Lab::new();
    let script = HANDLES.replace(" TERM;", " USR1;");
    let mut run = run(&lab, "web", &script);
    let containers = fs::read_dir(lab.state().join("containers")).unwrap();
    let record = containers.last().unwrap().unwrap().path().join("record");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\nend\n", "\nstop-signal SIGUSR1\nend\n"))
        .unwrap();
    ok(&lab, &["stop", "web"]);
    assert_eq!(run.wait().unwrap().code(), Some(7));
    ok(&lab, &["rm", "web"]);
}

#[test]
#[file_serial(machine)]
fn stop_kills_a_program_that_ignores_sigterm_and_its_children() {
    for caller in Caller::BOTH {
        for time in ["0", "1"] {
            let lab = Lab::new();
            let mut run = started(
                caller.command(&lab, BIN),
                &["run", "--name", "web"],
                IGNORES,
            );
            let stop = ["stop", "-t", time, "web"];
            caller.chapter(&lab, BIN).args(stop).assert().success().stdout("web\n");
            let (_, web) = only(caller.chapter(&lab, BIN));
            assert_eq!(
                (&web["code"], &web["signal"]),
                (&137.into(), &"SIGKILL".into())
            );
            assert_eq!(run.wait().unwrap().code(), Some(137));
            assert!(living().into_values().all(|name| name != "sleep"));
            caller.chapter(&lab, BIN).args(["rm", "web"]).assert().success();
        }
    }
}

#[test]
#[file_serial(machine)]
fn stop_kills_a_pid_1_without_a_sigterm_handler() {
    let lab = Lab::new();
    let mut web = run(&lab, "web", "echo ready; exec sleep 1000");
    // The kernel discards this signal.
    ok(&lab, &["kill", "-s", "TERM", "web"]);
    ok(&lab, &["stop", "-t", "1", "web"]);
    assert_eq!(listed(&lab, "web")["code"], 137);
    web.wait().unwrap();
    ok(&lab, &["rm", "web"]);
}

#[test]
#[file_serial(machine)]
fn stop_sends_the_signal_to_all_containers_before_it_waits() {
    let lab = Lab::new();
    let volume = format!("{}:/v", lab.dir().join("v").display());
    let words = |name| ["run", "-v", volume.as_str(), "--name", name];
    // The first container ends only after the second has received the signal.
    // Otherwise the first would be killed after the timeout.
    let script = "trap 'until [ -e /v/asked ]; do sleep 0.02; done; exit 1' TERM; \
                  echo ready; while :; do sleep 0.02; done";
    let mut first = started(lab.command(&[], BIN), &words("first"), script);
    let script = "trap 'touch /v/asked; exit 2' TERM; \
                  echo ready; while :; do sleep 0.02; done";
    let mut second = started(lab.command(&[], BIN), &words("second"), script);
    let stopped = ok(&lab, &["stop", "-t", "45", "first", "second"]);
    assert_eq!(stopped, "first\nsecond\n");
    assert_eq!(listed(&lab, "first")["code"], 1);
    assert_eq!(listed(&lab, "second")["code"], 2);
    let codes = [&mut first, &mut second].map(|run| run.wait().unwrap().code());
    assert_eq!(codes, [Some(1), Some(2)]);
    ok(&lab, &["rm", "first", "second"]);
    fs::remove_dir_all(lab.dir().join("v")).unwrap();
}

#[test]
#[file_serial(machine)]
fn an_error_for_one_container_does_not_affect_the_others() {
    let lab = Lab::new();
    let mut web = run(&lab, "web", HANDLES);
    let out =
        lab.chapter(BIN).args(["stop", "none", "web", "no"]).assert().code(125);
    let out = out.stdout("web\n").get_output().stderr.clone();
    assert_snapshot!("ch05-stop-errors", String::from_utf8(out).unwrap());
    assert_eq!(web.wait().unwrap().code(), Some(7));
    let refused = "error: container web is not running\n";
    lab.chapter(BIN).args(["kill", "web"]).assert().code(125).stderr(refused);
    for signal in ["NONE", "0", "64", ""] {
        let words = ["kill", "-s", signal, "web"];
        lab.chapter(BIN).args(words).assert().code(2).stdout("");
    }
    lab.chapter(BIN).args(["stop", "-t", "-1", "web"]).assert().code(2);
    lab.chapter(BIN).arg("stop").assert().code(2);
    ok(&lab, &["rm", "web"]);
}

#[test]
#[file_serial(machine)]
fn stop_and_kill_thaw_a_frozen_container() {
    let lab = Lab::new();
    for (words, code) in [
        (&["stop", "web"][..], 7),
        (&["stop", "-t", "0", "web"], 137),
        (&["kill", "web"], 137),
    ] {
        let mut web = run(&lab, "web", HANDLES);
        let (id, _) = only(lab.chapter(BIN));
        lab.chapter("ch02-cgroups").args(["freeze", &id]).assert().success();
        ok(&lab, words);
        let seen = web.wait().unwrap().code();
        // With a timeout of 0, the program may have ended before SIGKILL.
        assert!(
            seen == Some(code) || (words.len() == 4 && seen == Some(7)),
            "{words:?}"
        );
        ok(&lab, &["rm", "web"]);
    }
}

#[test]
#[file_serial(machine)]
fn stop_does_not_thaw_a_container_during_a_commit_before_the_timeout() {
    let lab = Lab::new();
    let mut web = run(&lab, "web", HANDLES);
    let (id, _) = only(lab.chapter(BIN));
    // The lock that `commit` takes.
    let reader = File::open(lab.state().join("containers").join(&id)).unwrap();
    reader.lock_shared().unwrap();
    lab.chapter("ch02-cgroups").args(["freeze", &id]).assert().success();
    ok(&lab, &["stop", "-t", "1", "web"]);
    // The handler never ran.
    assert_eq!(web.wait().unwrap().code(), Some(137));
    drop(reader);
    ok(&lab, &["rm", "web"]);
}

#[test]
#[file_serial(machine)]
fn kill_sends_any_signal_and_sigkill_by_default() {
    let lab = Lab::new();
    let script = "trap 'echo one' USR1; trap 'echo two; exit 5' USR2; echo ready; \
                  while :; do sleep 0.02; done";
    let mut web = run(&lab, "web", script);
    assert_eq!(ok(&lab, &["kill", "-s", "usr1", "web"]), "web\n");
    let mut out = web.stdout.take().unwrap();
    let mut seen = [0; 4];
    out.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"one\n");
    ok(&lab, &["kill", "--signal", "12", "web"]);
    assert_eq!(web.wait().unwrap().code(), Some(5));
    ok(&lab, &["rm", "web"]);
    let mut web = run(&lab, "web", IGNORES);
    ok(&lab, &["kill", "web"]);
    assert_eq!(web.wait().unwrap().code(), Some(137));
    ok(&lab, &["rm", "web"]);
}

#[test]
#[file_serial(machine)]
fn a_process_with_a_reused_pid_gets_no_signal() {
    let lab = Lab::new();
    let mut web = run(&lab, "web", CAT);
    let (id, one) = only(lab.chapter(BIN));
    let path = lab.state().join("running").join(&id);
    let text = fs::read_to_string(&path).unwrap();
    web.kill().unwrap();
    web.wait().unwrap();
    // Start times have a resolution of hundredths of a second. A PID is not reused within
    // this time, but the other process must have a different start time.
    sleep(Duration::from_millis(20));
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let was = format!("process until-removed {} ", one["pid"]);
    let now = format!("process until-removed {} ", other.id());
    assert!(text.contains(&was), "{text}");
    // The PID now belongs to the other process, but the start time does not match.
    fs::write(&path, text.replace(&was, &now)).unwrap();
    let lock = File::open(&path).unwrap();
    lock.lock().unwrap();
    let refused = "error: container web is not running\n";
    lab.chapter(BIN).args(["kill", "web"]).assert().code(125).stderr(refused);
    drop(lock);
    ok(&lab, &["stop", "-t", "0", "web"]);
    assert!(other.try_wait().unwrap().is_none(), "a foreign process was killed");
    other.kill().unwrap();
    other.wait().unwrap();
    ok(&lab, &["rm", "web"]);
}

#[test]
#[file_serial(machine)]
fn wait_prints_the_exit_status_even_if_the_container_is_removed() {
    let lab = Lab::new();
    let web = run(&lab, "web", CAT);
    let gone =
        started(lab.command(&[], BIN), &["run", "--rm", "--name", "gone"], CAT);
    let wait = spawn(&lab, &["wait", "web", "gone"]);
    sleeps_in_flock(&wait);
    // The second container ends first, and all its files are removed.
    assert_eq!(end(gone), Some(3));
    assert_eq!(all(lab.chapter(BIN)).len(), 1);
    assert_eq!(end(web), Some(3));
    assert_eq!(said(wait), ("3\n3\n".into(), String::new(), Some(0)));
    assert_eq!(ok(&lab, &["wait", "web", "web"]), "3\n3\n");
    ok(&lab, &["rm", "web"]);
}

#[test]
#[file_serial(machine)]
fn wait_reports_an_unknown_exit_status_if_the_supervisor_is_killed() {
    let lab = Lab::new();
    let mut web = run(&lab, "web", CAT);
    let wait = spawn(&lab, &["wait", "web"]);
    sleeps_in_flock(&wait);
    web.kill().unwrap();
    web.wait().unwrap();
    let (out, err, code) = said(wait);
    assert_eq!((out.as_str(), code), ("", Some(125)));
    assert!(
        err.starts_with("error: the exit status of container web is unknown: "),
        "{err}"
    );
    // `stop` has nothing to do.
    assert_eq!(ok(&lab, &["stop", "web"]), "web\n");
    ok(&lab, &["run", "--rm", "busybox", "true"]);
    let unknown = contains("the exit status of container web is unknown");
    lab.chapter(BIN).args(["wait", "web"]).assert().code(125).stderr(unknown);
    ok(&lab, &["rm", "web"]);
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch05-stop-help", ok(&lab, &["--help"]));
    for action in ["stop", "kill", "wait"] {
        let help = ok(&lab, &[action, "-h"]);
        assert_snapshot!(format!("ch05-stop-{action}-help"), help);
    }
}

#[test]
#[file_serial(machine)]
fn wait_reports_the_truth_if_the_container_is_removed_meanwhile() {
    let lab = Lab::new();
    let words = ["run", "--name", "web", "busybox", "sh", "-c", "exit 3"];
    lab.chapter(BIN).args(words).assert().code(3);
    let (id, _) = only(lab.chapter(BIN));
    // A process that removes the container locks a new lock file without notes.
    let running = lab.state().join("running").join(&id);
    let lock = File::create(&running).unwrap();
    lock.lock().unwrap();
    let wait = spawn(&lab, &["wait", "web"]);
    sleeps_in_flock(&wait);
    fs::remove_dir_all(lab.state().join("containers").join(&id)).unwrap();
    fs::remove_file(lab.state().join("names/web")).unwrap();
    fs::remove_file(&running).unwrap();
    drop(lock);
    assert_eq!(said(wait), ("3\n".into(), String::new(), Some(0)));
}
