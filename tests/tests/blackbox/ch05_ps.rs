//! ch05-ps: the list of containers, and the correctness of each entry.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use blackbox::{CAT, Lab, all, end, only, started};
use insta::assert_snapshot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use predicates::str::{contains, starts_with};
use serde_json::Value;
use serial_test::file_serial;

const BIN: &str = "ch05-ps";

fn ok(lab: &Lab, words: &[&str]) -> String {
    let out = lab.chapter(BIN).args(words).assert().success().stderr("");
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

fn lock(state: &Path, id: &str) -> PathBuf {
    state.join("running").join(id)
}

/// Compare a table with a snapshot, without its IDs, PIDs and ages.
fn snapshot(name: &str, table: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{12}", "ID");
    settings.add_filter(r"  [0-9]+ +Up", "  PID  Up");
    settings.add_filter(r"(just now|\d+ seconds? ago)", "AGE");
    settings.add_filter(r"Up \d+ seconds?", "Up");
    settings.add_filter(" {2,}", "  ");
    settings.bind(|| assert_snapshot!(name, table));
}

#[test]
#[file_serial(machine)]
fn ps_lists_running_containers_and_ps_a_also_ended_ones() {
    let lab = Lab::new();
    let heading = "ID  NAME  PID  STATUS  COMMAND  CREATED\n";
    assert_eq!(ok(&lab, &["ps"]), heading);
    assert_eq!(ok(&lab, &["ps", "-a", "--json"]), "[]\n");
    lab.chapter(BIN)
        .args(["run", "--name", "killed", "busybox", "sh", "-c", "kill -9 $$"])
        .assert()
        .code(0);
    ok(&lab, &["rm", "killed"]);
    let web = started(lab.command(&[], BIN), &["run", "--name", "web"], CAT);
    snapshot("ch05-ps-up", &ok(&lab, &["ps"]));
    let (id, up) = only(lab.chapter(BIN));
    assert_eq!(ok(&lab, &["ps", "-q"]), format!("{id}\n"));
    assert_eq!((&up["status"], &up["code"]), (&"running".into(), &Value::Null));
    // The process is the first of the container, and a child of the supervisor.
    let stat = fs::read_to_string(format!("/proc/{}/stat", up["pid"])).unwrap();
    assert!(stat.contains("(sh) "), "{stat}");
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    assert_eq!(parent, web.id().to_string());

    assert_eq!(end(web), Some(3));
    assert_eq!(ok(&lab, &["ps", "-q"]), "");
    assert_eq!(ok(&lab, &["ps", "-a", "-q"]), format!("{id}\n"));
    snapshot("ch05-ps-exited", &ok(&lab, &["ps", "-a"]));
    let (_, ended) = only(lab.chapter(BIN));
    assert_eq!(ended["status"], "exited");
    assert_eq!((&ended["code"], &ended["pid"]), (&3.into(), &Value::Null));
    assert!(ended["ended"].as_u64() >= ended["created"].as_u64());
    ok(&lab, &["rm", "web"]);
    assert_eq!(ok(&lab, &["ps", "-a"]), heading);
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_sees_only_own_containers_and_the_ending_signal() {
    let lab = Lab::new();
    let command = lab.user_command(BIN);
    let mut run = started(command, &["run", "--rm", "--name", "mine"], CAT);
    // A container with `--rm` is listed too while it runs.
    let (_, up) = only(lab.as_user(BIN));
    assert_eq!((&up["status"], &up["name"]), (&"running".into(), &"mine".into()));
    let pid = i32::try_from(up["pid"].as_i64().unwrap()).unwrap();
    assert!(all(lab.chapter(BIN)).is_empty(), "root sees containers of the user");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(137));
    assert!(all(lab.as_user(BIN)).is_empty());
    let words = ["run", "--name", "two", "busybox", "sh", "-c", "sleep 9 & exit 0"];
    lab.as_user(BIN).args(words).assert().success();
    let command = lab.user_command(BIN);
    let mut run = started(command, &["run"], CAT);
    let up = all(lab.as_user(BIN)).into_iter().find(|it| it["pid"] != Value::Null);
    let pid = i32::try_from(up.unwrap()["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(137));
    let all = all(lab.as_user(BIN));
    let killed = all.iter().find(|it| it["name"] == Value::Null).unwrap();
    assert_eq!(
        (&killed["code"], &killed["signal"]),
        (&137.into(), &"SIGKILL".into())
    );
    for one in all {
        let id = one["id"].as_str().unwrap();
        lab.as_user(BIN).args(["rm", id]).assert().success();
    }
}

#[test]
#[file_serial(machine)]
fn a_container_of_a_killed_supervisor_is_dead_before_and_after_a_sweep() {
    let lab = Lab::new();
    let mut web = started(lab.command(&[], BIN), &["run", "--name", "web"], CAT);
    web.kill().unwrap();
    web.wait().unwrap();
    for _ in 0..2 {
        assert_eq!(ok(&lab, &["ps", "-q"]), "");
        let (_, dead) = only(lab.chapter(BIN));
        assert_eq!(dead["status"], "dead");
        for field in ["pid", "code", "signal", "ended"] {
            assert_eq!(dead[field], Value::Null, "{field}");
        }
        ok(&lab, &["run", "--rm", "busybox", "true"]);
    }
    snapshot("ch05-ps-dead", &ok(&lab, &["ps", "-a"]));
    ok(&lab, &["rm", "web"]);
}

#[test]
#[file_serial(machine)]
fn ps_never_shows_a_reused_pid() {
    let lab = Lab::new();
    // Start times have a resolution of hundredths of a second. This test and the program
    // must have different ones.
    sleep(Duration::from_millis(20));
    let mut web = started(lab.command(&[], BIN), &["run", "--name", "web"], CAT);
    let (id, _) = only(lab.chapter(BIN));
    let path = lock(&lab.state(), &id);
    let text = fs::read_to_string(&path).unwrap();
    web.kill().unwrap();
    web.wait().unwrap();
    // The supervisor still holds the lock, and the noted PID is that of this test.
    let own = std::process::id();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let since = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap();
    let noted: Vec<&str> = text
        .lines()
        .find_map(|l| l.strip_prefix("process until-removed "))
        .unwrap()
        .split(' ')
        .collect();
    let held = File::open(&path).unwrap();
    held.lock().unwrap();
    let with_start_time = |since: &str| {
        let note = format!("until-removed {} {}", noted[0], noted[1]);
        let other = format!("until-removed {own} {since}");
        fs::write(&path, text.replace(&note, &other)).unwrap();
        only(lab.chapter(BIN)).1
    };
    let earlier = with_start_time(noted[1].min("1"));
    assert_eq!(
        (&earlier["status"], &earlier["pid"]),
        (&"ending".into(), &Value::Null)
    );
    // With the start time of this test, the container is shown as running.
    let same = with_start_time(since);
    assert_eq!((&same["status"], &same["pid"]), (&"running".into(), &own.into()));
    fs::write(&path, text).unwrap();
    drop(held);
    ok(&lab, &["rm", "web"]);
}

/// The number of system calls that this command makes. fcntl(2) is not counted: with
/// debug assertions, std calls it before it closes a descriptor, to check that it is open.
fn calls(lab: &Lab, words: &[&str]) -> usize {
    let mut ps =
        lab.traced(BIN, |command| command.args(words).stdout(Stdio::null()));
    let mut calls = 0;
    while ps.step().is_some() {
        calls += usize::from(!ps.is_fcntl());
    }
    assert_eq!(ps.end(), 0);
    calls
}

#[test]
#[file_serial(machine)]
fn an_ended_container_costs_ps_a_four_system_calls_and_ps_none() {
    let lab = Lab::new();
    let [few, many] = [1, 2].map(|_| {
        for _ in 0..3 {
            ok(&lab, &["run", "busybox", "true"]);
        }
        [&["ps", "-a"][..], &["ps"]].map(|words| calls(&lab, words))
    });
    // open(2), read(2) and close(2) for the record; readlink(2) for the end.
    assert_eq!(many, [few[0] + 3 * 4, few[1]]);
    for one in all(lab.chapter(BIN)) {
        ok(&lab, &["rm", one["id"].as_str().unwrap()]);
    }
}

#[test]
#[file_serial(machine)]
fn ps_reports_a_damaged_record_and_lists_the_other_containers() {
    let lab = Lab::new();
    for name in ["one", "two"] {
        ok(&lab, &["run", "--name", name, "busybox", "true"]);
    }
    let id = |name| fs::read_link(lab.state().join("names").join(name)).unwrap();
    let [one, two] =
        ["one", "two"].map(|name| id(name).to_str().unwrap().to_owned());
    let record = lab.state().join("containers").join(&one).join("record");
    let was = fs::read(&record).unwrap();
    for damaged in ["name", "end\n", "created -1\nend\n"] {
        fs::write(&record, damaged).unwrap();
        lab.chapter(BIN)
            .args(["ps", "-a", "-q"])
            .assert()
            .success()
            .stdout(format!("{two}\n"))
            .stderr(starts_with(format!(
                "warning: container {one} cannot be shown"
            )));
        // The container does not run, so `ps` without -a does not read its record.
        assert_eq!(ok(&lab, &["ps", "-q"]), "");
    }
    fs::write(&record, was).unwrap();
    ok(&lab, &["rm", "one", "two"]);
}

#[test]
#[file_serial(machine)]
fn ps_prints_any_command_on_one_line() {
    let lab = Lab::new();
    let words =
        ["run", "--name", "one", "busybox", "echo", "a\nb", "\x1b[2J", "it's"];
    ok(&lab, &words);
    let whole = r"echo 'a\nb' '\u{1b}[2J' 'it'\''s'";
    let table = ok(&lab, &["ps", "-a", "--no-trunc"]);
    assert!(table.lines().count() == 2 && table.contains(whole), "{table}");
    let table = ok(&lab, &["ps", "-a"]);
    assert!(table.contains(r"echo 'a\nb' '\u{1b}…  "), "{table}");
    let (_, one) = only(lab.chapter(BIN));
    assert_eq!(one["command"][1], "a\nb");
    ok(&lab, &["rm", "one"]);
}

#[test]
#[file_serial(machine)]
fn ps_changes_nothing_and_refuses_conflicting_flags() {
    let mut lab = Lab::new();
    lab.update_snapshot();
    // A missing state directory gives an empty list, and is not created.
    let none = lab.dir().join("none");
    let mut ps = lab.chapter(BIN);
    ps.env("MYDOCKER_ROOT", &none).args(["ps", "-aq"]).assert().success().stdout("");
    assert!(!none.exists());
    let refused = contains("the argument '--quiet' cannot be used with '--json'");
    lab.chapter(BIN).args(["ps", "-q", "--json"]).assert().code(2).stderr(refused);
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    assert_snapshot!("ch05-ps-help", ok(&lab, &["--help"]));
    assert_snapshot!("ch05-ps-ps-help", ok(&lab, &["ps", "--help"]));
}
