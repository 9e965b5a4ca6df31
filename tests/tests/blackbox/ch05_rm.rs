//! ch05-rm: everything that a container has left is removed.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use blackbox::{CAT, Lab, all, end, only, started, until};
use insta::assert_snapshot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::contains;
use serde_json::Value;
use serial_test::file_serial;

const BIN: &str = "ch05-rm";

/// A script that only SIGKILL ends.
const IGNORES: &str = "trap '' TERM; echo ready; while :; do sleep 0.02; done";

fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().success().stderr("");
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

fn run(lab: &Lab, name: &str, script: &str) -> Child {
    started(lab.command(&[], BIN), &["run", "--name", name], script)
}

/// A container whose supervisor was killed.
fn dead(lab: &Lab, name: &str) {
    let mut run = run(lab, name, CAT);
    run.kill().unwrap();
    run.wait().unwrap();
}

/// Whether no container has left anything in the state directory.
fn is_empty(state: &Path) -> bool {
    let places = ["containers", "running", "names"].map(|name| state.join(name));
    places
        .iter()
        .all(|place| fs::read_dir(place).is_ok_and(|mut it| it.next().is_none()))
}

#[test]
#[file_serial(machine)]
fn rm_refuses_a_running_container_and_rm_f_kills_it() {
    let lab = Lab::new();
    let mut web = run(&lab, "web", IGNORES);
    let out = lab.chapter(BIN).args(["rm", "web"]).assert().code(125).stdout("");
    let said = String::from_utf8(out.get_output().stderr.clone()).unwrap();
    assert_snapshot!("ch05-rm-running", said);
    let (id, up) = only(lab.chapter(BIN));
    assert_eq!(up["status"], "running");
    // `wait` gets the exit status.
    let mut wait = lab.command(&[], BIN);
    let wait = wait.args(["wait", "web"]).stdout(Stdio::piped()).spawn().unwrap();
    // A frozen program does not get signals.
    lab.chapter("ch02-cgroups").args(["freeze", &id]).assert().success();
    assert_eq!(ok(&lab, &["rm", "-f", "web"]), "web\n");
    assert!(is_empty(&lab.state()));
    assert_eq!(web.wait().unwrap().code(), Some(137));
    let out = wait.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    // `wait` may have started too late to find the container.
    assert!(told == "137\n" || out.status.code() == Some(125), "{out:?}");
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_can_remove_running_and_dead_containers() {
    let lab = Lab::new();
    let words = ["run", "--name", "web"];
    let mut web = started(lab.user_command(BIN), &words, IGNORES);
    lab.as_user(BIN).args(["rm", "-f", "web"]).assert().success().stdout("web\n");
    assert_eq!(web.wait().unwrap().code(), Some(137));
    assert!(is_empty(&lab.user_state()));
    for remove in [&["rm", "web"][..], &["rm", "-f", "web"], &["prune"]] {
        let mut web = started(lab.user_command(BIN), &words, IGNORES);
        // The process that changed the user has become the supervisor.
        web.kill().unwrap();
        web.wait().unwrap();
        lab.as_user(BIN).args(remove).assert().success().stdout("web\n");
        assert!(is_empty(&lab.user_state()), "{remove:?}");
    }
}

#[test]
#[file_serial(machine)]
fn rm_removes_everything_of_a_container_with_a_killed_supervisor() {
    let lab = Lab::new();
    for force in [&[][..], &["-f"], &["-fv"]] {
        dead(&lab, "web");
        assert!(!lab.left().is_empty(), "a killed supervisor left nothing");
        ok(&lab, &[&["rm"], force, &["web"]].concat());
        assert!(is_empty(&lab.state()));
        assert_eq!(lab.left(), Vec::<String>::new());
    }
}

#[test]
#[file_serial(machine)]
fn rm_tries_all_containers_and_reports_all_errors() {
    let lab = Lab::new();
    for name in ["one", "two"] {
        ok(&lab, &["run", "--name", name, "busybox", "true"]);
    }
    let out = lab.chapter(BIN).args(["rm", "no", "one", "none", "two"]).assert();
    let out = out.code(125).stdout("one\ntwo\n").get_output().stderr.clone();
    assert_snapshot!("ch05-rm-errors", String::from_utf8(out).unwrap());
    assert!(is_empty(&lab.state()));
}

#[test]
#[file_serial(machine)]
fn concurrent_removals_succeed_or_say_that_the_container_is_gone() {
    let lab = Lab::new();
    for force in [false, true] {
        let running = if force { Some(run(&lab, "web", CAT)) } else { None };
        if !force {
            ok(&lab, &["run", "--name", "web", "busybox", "true"]);
        }
        let remove = || {
            let mut command = lab.command(&[], BIN);
            command.arg("rm").args(force.then_some("-f")).arg("web");
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let all: Vec<Child> = (0..6).map(|_| remove()).collect();
        let mut won = 0;
        for one in all {
            let out = one.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            let gone = "error: container \"web\" not found: give a name or an ID\n";
            let unfound = "error: container web has no record: it is being created or \
                           removed\n";
            match out.status.code() {
                Some(0) => won += 1,
                code => assert!(
                    code == Some(125) && (said == gone || said == unfound),
                    "{out:?}"
                ),
            }
        }
        assert!(won > 0);
        assert!(is_empty(&lab.state()));
        assert!(
            running.is_none_or(|mut run| run.wait().unwrap().code() == Some(137))
        );
    }
}

#[test]
#[file_serial(machine)]
fn rm_refuses_a_container_that_is_being_read_but_allows_open_files() {
    let lab = Lab::new();
    let words = ["run", "--name", "web", "busybox", "sh", "-c", "echo x > /file"];
    ok(&lab, &words);
    let (id, _) = only(lab.chapter(BIN));
    let dir = lab.state().join("containers").join(&id);
    let reader = File::open(&dir).unwrap();
    reader.lock_shared().unwrap();
    for words in [&["rm", "web"][..], &["rm", "-f", "web"], &["prune"]] {
        let refused = contains("container web is being read by commit or export");
        lab.chapter(BIN).args(words).assert().code(125).stderr(refused);
        assert_eq!(only(lab.chapter(BIN)).1["status"], "exited", "{words:?}");
    }
    drop(reader);
    let open = File::open(dir.join("upper/file")).unwrap();
    ok(&lab, &["rm", "web"]);
    assert!(is_empty(&lab.state()));
    drop(open);
}

#[test]
#[file_serial(machine)]
fn prune_removes_all_containers_that_are_not_running() {
    let lab = Lab::new();
    assert_eq!(ok(&lab, &["prune"]), "");
    let up = run(&lab, "up", CAT);
    for name in ["one", "two"] {
        ok(&lab, &["run", "--name", name, "busybox", "true"]);
    }
    dead(&lab, "dead");
    // A container of a chapter before images, which has no record.
    let mut command = lab.command(&[], "ch04-volume");
    command.args(["run", "-m", "50m", "--name", "old", "sh", "-c", CAT]);
    let mut old =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(old.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let alive = ok(&lab, &["prune"]);
    let mut alive: Vec<&str> = alive.lines().collect();
    alive.sort_unstable();
    // The two running containers are not removed.
    assert_eq!(alive, ["dead", "one", "two"]);
    old.kill().unwrap();
    assert_eq!(old.wait().unwrap().signal(), Some(9));
    // `prune` prints the ID, because the name is no longer known.
    assert_eq!(ok(&lab, &["prune"]).len(), "d6b3c2a7f415\n".len());
    assert_eq!(ok(&lab, &["prune"]), "");
    assert_eq!(only(lab.chapter(BIN)).1["status"], "running");
    assert_eq!(end(up), Some(3));
    assert_eq!(ok(&lab, &["prune"]), "up\n");
    assert!(is_empty(&lab.state()));
}

#[test]
#[file_serial(machine)]
fn rm_refuses_a_container_with_a_note_of_a_later_chapter() {
    let lab = Lab::new();
    dead(&lab, "web");
    let (id, _) = only(lab.chapter(BIN));
    let path = lab.state().join("running").join(&id);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}link veth0\n")).unwrap();
    for words in [&["rm", "web"][..], &["rm", "-f", "web"], &["prune"]] {
        let refused = contains("a note of the unknown kind \"link\"");
        lab.chapter(BIN).args(words).assert().code(125).stdout("").stderr(refused);
        assert_eq!(only(lab.chapter(BIN)).1["status"], "dead", "{words:?}");
    }
    fs::write(&path, text).unwrap();
    ok(&lab, &["rm", "web"]);
    assert!(is_empty(&lab.state()));
}

#[test]
#[file_serial(machine)]
fn rm_keeps_a_dead_container_with_a_socket_and_names_the_right_program() {
    let lab = Lab::new();
    let attach = "ch05-attach";
    let run = ["run", "-d", "-i", "--name", "one", "busybox", "cat"];
    let out = lab.chapter(attach).args(run).assert().success();
    let id = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    let id = id.trim();
    let lock = lab.state().join("running").join(id);
    let notes = fs::read_to_string(&lock).unwrap();
    assert!(notes.starts_with("format 1 ch05-attach\n"), "{notes}");
    assert!(notes.contains("\nsocket attach\n"), "{notes}");
    let pid = |kind: &str| {
        let note = notes.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        note.rsplit(' ').nth(1).unwrap().parse().unwrap()
    };
    kill(Pid::from_raw(pid("host ")), Signal::SIGKILL).unwrap();
    let program = format!("/proc/{}/exe", pid("process "));
    until(|| fs::read_link(&program).is_err());
    let socket = lab.state().join("containers").join(id).join("attach");
    for words in [&["rm", "one"][..], &["rm", "-f", "one"], &["prune"]] {
        let refused = contains("unknown kind \"socket\"; `ch05-attach rm`");
        lab.chapter(BIN).args(words).assert().code(125).stdout("").stderr(refused);
        assert_eq!(only(lab.chapter(BIN)).1["status"], "dead", "{words:?}");
        assert!(socket.exists() && lock.exists(), "{words:?}");
        assert!(lab.state().join("names/one").is_symlink(), "{words:?}");
    }
    // A start does not remove it, and prints nothing about it.
    let next = ["run", "--rm", "busybox", "true"];
    lab.chapter(BIN).args(next).assert().success().stderr("");
    assert!(socket.exists() && lock.exists());
    lab.chapter(attach).args(["rm", "one"]).assert().success().stdout("one\n");
    assert!(is_empty(&lab.state()));
}

fn text(one: &Value, field: &str) -> String {
    one[field].as_str().unwrap().to_owned()
}

#[test]
#[file_serial(machine)]
fn fifty_concurrent_containers_are_started_stopped_and_removed() {
    let lab = Lab::new();
    let start = |number: u32| {
        let mut command = lab.command(&[], BIN);
        let name = format!("c{number}");
        command.args(["run", "-d", "--name", &name, "busybox", "sh", "-c"]);
        command.arg("trap 'exit 4' TERM; echo ready; sleep 1000 & wait");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let runs: Vec<Child> = (0..50).map(start).collect();
    let id = |run: Child| {
        let out = run.wait_with_output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let ids: BTreeSet<String> = runs.into_iter().map(id).collect();
    assert_eq!(ids.len(), 50);
    let listed = |status: &str| {
        let listed = all(lab.chapter(BIN));
        let (ids, states): (BTreeSet<String>, BTreeSet<String>) =
            listed.iter().map(|one| (text(one, "id"), text(one, "status"))).unzip();
        assert_eq!(states, BTreeSet::from([status.to_owned()]));
        (ids, listed)
    };
    assert_eq!(listed("running").0, ids);
    // Before this line, the program would ignore SIGTERM.
    for id in &ids {
        while ok(&lab, &["logs", id]).is_empty() {
            sleep(Duration::from_millis(10));
        }
    }
    let words: Vec<&str> = ids.iter().map(String::as_str).collect();
    ok(&lab, &[&["stop", "-t", "45"], &words[..]].concat());
    let (stopped, ended) = listed("exited");
    assert_eq!(stopped, ids);
    assert!(ended.iter().all(|one| one["code"] == 4), "{ended:?}");
    ok(&lab, &[&["rm"], &words[..]].concat());
    assert!(is_empty(&lab.state()));
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch05-rm-help", ok(&lab, &["--help"]));
    for action in ["rm", "prune"] {
        let help = ok(&lab, &[action, "-h"]);
        assert_snapshot!(format!("ch05-rm-{action}-help"), help);
    }
}
