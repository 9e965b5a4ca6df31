//! ch02-setns: clone(2), unshare(2) and setns(2), and the numbers in /proc/PID/ns.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use blackbox::{Lab, living};
use insta::assert_snapshot;
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

const KINDS: [(&str, &str); 8] = [
    ("mnt", "--mount"),
    ("uts", "--uts"),
    ("ipc", "--ipc"),
    ("pid", "--pid"),
    ("net", "--net"),
    ("user", "--user"),
    ("cgroup", "--cgroup"),
    ("time", "--time"),
];

/// A process in its own namespaces, with the hostname `box`. It is killed when this value
/// is dropped.
struct Inhabitant {
    supervisor: Child,
    pid: String,
}

impl Inhabitant {
    fn new(mut command: Command, flags: &[&str]) -> Inhabitant {
        let script = "hostname box; echo ready; exec sleep 1000";
        command.arg("run").args(flags).args(["sh", "-c", script]);
        let mut supervisor = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        let parent = supervisor.id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let pid = fs::read_to_string(children).unwrap();
        let pid = pid.split_whitespace().last().unwrap().to_owned();
        Inhabitant { supervisor, pid }
    }

    fn end(&mut self) {
        let _ = self.supervisor.kill();
        self.supervisor.wait().unwrap();
        // The kernel kills the child of a killed supervisor, a moment later.
        let pid = self.pid.parse().unwrap();
        for _ in 0..1000 {
            if !living().contains_key(&pid) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        self.end();
    }
}

fn number(pid: &str, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    let text = link.to_str().unwrap().to_owned();
    text.trim_start_matches(|letter: char| letter != '[').replace(['[', ']'], "")
}

#[test]
#[file_serial(machine)]
fn list_shows_namespace_numbers_and_whether_they_are_the_callers() {
    let lab = Lab::new();
    let mut list = lab.chapter("ch02-setns");
    let assert = list.arg("list").assert().success();
    let own = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let inhabitant =
        Inhabitant::new(lab.command(&[], "ch02-setns"), &["--uts", "--pid"]);
    let mut list = lab.chapter("ch02-setns");
    let assert = list.args(["list", &inhabitant.pid]).assert().success();
    let other = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    for (kind, _) in KINDS {
        let row = |table: &str| {
            let mut rows = table.lines().filter(|line| line.starts_with(kind));
            let row = rows.next().unwrap_or_else(|| panic!("{kind}: {table}"));
            row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row(&own)[1], number("self", kind));
        assert_eq!(row(&other)[1], number(&inhabitant.pid, kind));
        let yours = if matches!(kind, "uts" | "pid") { "no" } else { "yes" };
        assert_eq!(row(&other)[4], yours, "{kind}: {other}");
    }
    assert_eq!(own.lines().count(), 1 + KINDS.len());
}

#[test]
#[file_serial(machine)]
fn run_and_unshare_create_only_the_requested_namespace() {
    let lab = Lab::new();
    let script = "for kind; do readlink /proc/self/ns/$kind; done";
    for verb in ["run", "unshare"] {
        for (wanted, flag) in KINDS {
            let mut run = lab.chapter("ch02-setns");
            run.args([verb, flag, "sh", "-c", script, "sh"]);
            run.args(KINDS.map(|(kind, _)| kind));
            let assert = run.assert().success();
            let out = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
            assert_eq!(out.lines().count(), KINDS.len(), "{out}");
            for ((kind, _), inside) in KINDS.iter().zip(out.lines()) {
                let same = inside.contains(&number("self", kind));
                assert_eq!(same, *kind != wanted, "{verb} {flag}: {inside}");
            }
        }
    }
}

#[test]
#[file_serial(machine)]
fn unshare_does_not_change_the_host() {
    let lab = Lab::new();
    let name = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let before = name();
    let script =
        "hostname inside; hostname; echo $$; mount -t tmpfs none /mnt; exit 4";
    let mut unshare = lab.chapter("ch02-setns");
    unshare.args(["unshare", "--uts", "--mount", "--pid", "sh", "-c", script]);
    unshare.assert().code(4).stdout("inside\n1\n");
    assert_eq!(name(), before);
    // The probe makes `/` shared, as systemd does, and compares the mounts afterwards.
    let probe = blackbox::probe();
    for propagation in ["shared", "private"] {
        let wrapper = [probe.as_os_str(), propagation.as_ref()];
        let mut unshare = lab.wrapped(&wrapper, "ch02-setns");
        unshare.args(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
        unshare.assert().success();
    }
}

#[test]
#[file_serial(machine)]
fn enter_joins_all_foreign_namespaces_or_only_the_requested_one() {
    let lab = Lab::new();
    let inhabitant =
        Inhabitant::new(lab.command(&[], "ch02-setns"), &["--uts", "--pid"]);
    let enter = |words: &[&str]| {
        let mut enter = lab.chapter("ch02-setns");
        enter.args(["enter", &inhabitant.pid]).args(words).assert()
    };
    let script = "hostname; readlink /proc/self/ns/pid";
    let ours = format!("pid:[{}]\n", number("self", "pid"));
    let all = enter(&["sh", "-c", "hostname; [ $$ -lt 20 ] && echo inside"]);
    all.success().stdout("box\ninside\n");
    let only = enter(&["--uts", "sh", "-c", script]).success();
    only.stdout(format!("box\n{ours}"));
    enter(&["sh", "-c", "exit 6"]).code(6);
    enter(&["sh", "-c", "kill -9 $$"]).code(137);
    enter(&["no-such-program"]).code(127).stderr(contains("exec no-such-program"));
    enter(&["/etc/passwd"]).code(126);
}

#[test]
#[file_serial(machine)]
fn an_ordinary_user_joins_only_processes_of_the_same_user() {
    let lab = Lab::new();
    let inhabitant = Inhabitant::new(lab.user_command("ch02-setns"), &["--uts"]);
    // The user's program is the child of the helper's process.
    let script = "hostname; id -u";
    for mut enter in [lab.as_user("ch02-setns"), lab.chapter("ch02-setns")] {
        enter.args(["enter", &inhabitant.pid, "sh", "-c", script]);
        enter.assert().success().stdout("box\n0\n");
    }
    let mut enter = lab.as_user("ch02-setns");
    enter.args(["enter", "1", "true"]);
    enter.assert().code(125).stderr(contains("process 1 belongs to another user"));
    let mut unshare = lab.as_user("ch02-setns");
    unshare.args(["unshare", "--user", "--uts", "sh", "-c", "hostname u; id -u"]);
    unshare.assert().success().stdout("0\n");
    let mut unshare = lab.as_user("ch02-setns");
    let assert = unshare.args(["unshare", "--uts", "true"]).assert().code(125);
    assert.stderr(contains("unshare(2) CLONE_NEWUTS: EPERM"));
}

#[test]
#[file_serial(machine)]
fn a_held_namespace_outlives_its_last_process_until_release() {
    let lab = Lab::new();
    let mut inhabitant = Inhabitant::new(lab.command(&[], "ch02-setns"), &["--uts"]);
    let pid = inhabitant.pid.clone();
    let call = |words: &[&str]| lab.chapter("ch02-setns").args(words).assert();
    call(&["hold", "mine", &pid, "--uts"]).success();
    let taken = call(&["hold", "mine", &pid, "--uts"]).code(125);
    taken.stderr(contains("EEXIST").and(contains("mine is already in use")));
    inhabitant.end();
    call(&["enter", "mine", "hostname"]).success().stdout("box\n");
    call(&["release", "mine"]).success();
    let gone = call(&["enter", "mine", "hostname"]).code(125);
    gone.stderr(contains("no namespace is held under mine"));
    call(&["release", "mine"]).code(125).stderr(contains("no namespace is held"));
    // The lab looks for the mount and the file. The directory is not removed by the
    // program.
    fs::remove_dir(lab.state().join("namespaces")).unwrap();
}

#[test]
#[file_serial(machine)]
fn a_pid_namespace_cannot_be_entered_after_its_pid_1_has_ended() {
    let lab = Lab::new();
    let mut inhabitant = Inhabitant::new(lab.command(&[], "ch02-setns"), &["--pid"]);
    let pid = inhabitant.pid.clone();
    let call = |words: &[&str]| lab.chapter("ch02-setns").args(words).assert();
    call(&["hold", "mine", &pid, "--pid"]).success();
    let script = "[ $$ -lt 20 ] && echo inside";
    call(&["enter", "mine", "sh", "-c", script]).success().stdout("inside\n");
    inhabitant.end();
    let enter = call(&["enter", "mine", "true"]).code(125);
    enter.stderr(contains("ENOMEM").and(contains("its PID 1 has ended")));
    call(&["release", "mine"]).success();
    fs::remove_dir(lab.state().join("namespaces")).unwrap();
}

#[test]
#[file_serial(machine)]
fn a_new_namespace_is_held_without_a_process_listed_and_entered_by_its_path() {
    let lab = Lab::new();
    let call = |words: &[&str]| lab.chapter("ch02-setns").args(words).assert();
    call(&["list", "--held"]).success().stdout("NAME            KIND    NUMBER\n");
    call(&["hold", "mine", "--uts"]).success();
    let own = std::fs::read_link("/proc/self/ns/uts").unwrap();
    let inside = call(&["enter", "mine", "readlink", "/proc/self/ns/uts"]).success();
    let inside = String::from_utf8(inside.get_output().stdout.clone()).unwrap();
    assert_ne!(inside.trim(), own.to_string_lossy());
    let number = inside.trim().trim_start_matches("uts:[").trim_end_matches(']');
    call(&["list", "--held"]).success().stdout(format!(
        "NAME            KIND    NUMBER\nmine            uts     {number}\n"
    ));
    // Its file is a path, like that of a process.
    let path = lab.state().join("namespaces/mine");
    call(&["enter", path.to_str().unwrap(), "readlink", "/proc/self/ns/uts"])
        .success()
        .stdout(inside.clone());
    call(&["enter", "/proc/self/ns/uts", "true"]).success();
    call(&["enter", "/nonexistent/x", "true"]).code(125).stderr(contains("ENOENT"));
    call(&["release", "mine"]).success();
    for kind in ["--pid", "--mount", "--user"] {
        let refused = call(&["hold", "mine", kind]).code(125);
        refused.stderr(contains("cannot be held without a process"));
    }
    call(&["list", "--held"]).success().stdout("NAME            KIND    NUMBER\n");
    fs::remove_dir(lab.state().join("namespaces")).unwrap();
}

#[test]
#[file_serial(machine)]
fn a_failed_hold_leaves_no_name_behind() {
    let lab = Lab::new();
    let call = |words: &[&str]| lab.chapter("ch02-setns").args(words).assert();
    let this = std::process::id().to_string();
    let held = call(&["hold", "mine", &this, "--mount"]).code(125);
    held.stderr(contains("cannot be mounted inside itself"));
    call(&["hold", "mine", &this])
        .code(125)
        .stderr(contains("select exactly one kind"));
    call(&["hold", "mine", "999999999", "--uts"])
        .code(125)
        .stderr(contains("no process"));
    call(&["hold", "../mine", &this, "--uts"]).code(2);
    // `enter` would interpret this name as a PID.
    call(&["hold", "123", &this, "--uts"])
        .code(125)
        .stderr(contains("123 would mean process 123"));
    let names = lab.state().join("namespaces");
    assert_eq!(fs::read_dir(&names).unwrap().count(), 0);
    fs::remove_dir(names).unwrap();
}

#[test]
#[file_serial(machine)]
fn list_and_enter_report_a_process_that_does_not_exist() {
    let lab = Lab::new();
    for words in [&["list", "999999999"][..], &["enter", "99999999", "true"]] {
        let assert = lab.chapter("ch02-setns").args(words).assert().code(125);
        assert.stderr(contains("there is no process 99999999"));
    }
    let mut enter = lab.chapter("ch02-setns");
    let assert = enter.args(["enter", "no name", "true"]).assert().code(125);
    assert.stderr(contains("expected a process ID, a name or a path"));
}

#[test]
#[file_serial(machine)]
fn enter_and_unshare_report_exec_errors_like_run() {
    let lab = Lab::new();
    let this = std::process::id().to_string();
    fs::write(lab.dir().join("own"), "").unwrap();
    for words in [&["enter", &this][..], &["unshare"], &["unshare", "--pid"]] {
        for (program, code, reason) in [
            ("nowhere", 127, "exec nowhere: not found in PATH=/usr/local/sbin:"),
            (
                "own",
                127,
                "/own, but a container has its own PATH: run it by its path",
            ),
            ("", 127, "exec : not found in PATH=/usr/local/sbin:"),
            ("/no/where", 127, "exec /no/where: ENOENT: No such file"),
            ("/etc/passwd", 126, "exec /etc/passwd: EACCES: Permission denied"),
        ] {
            let mut call = lab.chapter("ch02-setns");
            call.env("PATH", lab.dir());
            let assert = call.args(words).arg(program).assert().code(code);
            assert.stderr(contains(reason));
        }
    }
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    let out = lab.chapter("ch02-setns").arg("--help").output().unwrap().stdout;
    assert_snapshot!("ch02-setns-help", String::from_utf8(out).unwrap());
}
