//! ch02-ipc: IPC objects created outside do not exist inside.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use blackbox::{Lab, probe};
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

/// The kinds of System V objects: the probe's word for the kind, and the kernel's list.
const KINDS: [(&str, &str); 3] = [
    ("queue", "/proc/sysvipc/msg"),
    ("semaphores", "/proc/sysvipc/sem"),
    ("memory", "/proc/sysvipc/shm"),
];

/// An object on the host, which is removed at the end of the test.
struct Object(&'static str, String);

impl Object {
    fn new(kind: &'static str) -> Object {
        let out = Command::new(probe()).args(["make", kind]).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        let text = String::from_utf8(out.stdout).unwrap();
        Object(kind, text.trim().to_owned())
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let words = ["remove", self.0, &self.1];
        let removed = Command::new(probe()).args(words).status();
        assert!(removed.is_ok_and(|status| status.success()));
    }
}

#[test]
#[file_serial(machine)]
fn ipc_objects_created_outside_are_not_listed_inside() {
    let lab = Lab::new();
    for (kind, list) in KINDS {
        let _object = Object::new(kind);
        // The host's list has a heading and the object.
        let outside = fs::read_to_string(list).unwrap();
        assert!(outside.lines().count() > 1, "{outside}");
        let script = format!("wc -l < {list}");
        let mut run = lab.chapter("ch02-ipc");
        run.args(["run", "sh", "-c", &script]).assert().success().stdout("1\n");
        // The previous chapter does not create an IPC namespace yet.
        let mut run = lab.chapter("ch02-uts");
        run.args(["run", "sh", "-c", &script]);
        run.assert().success().stdout(predicate::ne("1\n"));
    }
}

#[test]
#[file_serial(machine)]
fn ipc_objects_created_inside_are_removed_with_the_namespace() {
    let lab = Lab::new();
    for (kind, list) in KINDS {
        let before = ids(list);
        let script = format!("$0 make {kind} >/dev/null; wc -l < {list}");
        let mut run = lab.chapter("ch02-ipc");
        let run = run.args(["run", "sh", "-c", &script]).arg(probe()).assert();
        // Without an IPC namespace the object is the host's: remove it in any case.
        let left: Vec<_> = ids(list).difference(&before).cloned().collect();
        left.iter().for_each(|id| drop(Object(kind, id.clone())));
        assert!(left.is_empty(), "{list}: {left:?}");
        run.success().stdout("2\n");
    }
}

#[test]
#[file_serial(machine)]
fn make_list_and_remove_handle_each_kind_of_ipc_object() {
    let lab = Lab::new();
    let call = |words: &[&str]| {
        let assert = lab.chapter("ch02-ipc").args(words).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    for (kind, file) in KINDS {
        let id = call(&["make", kind]);
        let id = id.trim();
        // The key of a private object is 0. A segment has one page.
        let (bytes, messages) = match kind {
            "queue" => ("0", "0"),
            "memory" => ("4096", "-"),
            _ => ("-", "-"),
        };
        let row = format!(
            "{kind:<12}{id:<15}{:<12}{:<8}{:<7}{bytes:<8}{messages}\n",
            "0", "0", "600"
        );
        assert!(call(&["list"]).contains(&row), "{row}{}", call(&["list"]));
        // Inside, the kernel's own list has only a heading.
        assert_eq!(call(&["run", "sh", "-c", &format!("wc -l < {file}")]), "1\n");
        call(&["remove", kind, id]);
        assert!(!call(&["list"]).contains(&row));
        let mut again = lab.chapter("ch02-ipc");
        let assert = again.args(["remove", kind, id]).assert().code(125);
        assert.stderr(
            contains("IPC_RMID").and(contains("there is no object with the ID")),
        );
    }
}

#[test]
#[file_serial(machine)]
fn posix_queues_are_visible_only_in_their_own_namespace() {
    let lab = Lab::new();
    let call = |chapter: &str, words: &[&str]| {
        let assert = lab.chapter(chapter).args(words).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let name = call("ch02-ipc", &["make", "posix"]);
    let name = name.trim();
    // The filesystem shows the namespace of the process that mounted it. A mount needs
    // the mount namespace of a later chapter, which also creates an IPC namespace.
    let look = "mount -t mqueue none /mnt && ls /mnt";
    let inside = call("ch02-mount", &["run", "sh", "-c", look]);
    // Without an IPC namespace, the queue is visible.
    let unshare = ["unshare", "--mount", "sh", "-c", look];
    let outside = call("ch02-setns", &unshare);
    call("ch02-ipc", &["remove", "posix", name]);
    assert_eq!(inside, "");
    assert!(outside.contains(&name[1..]), "{name}: {outside}");
    let made = "mount -t mqueue none /mnt && : > /mnt/q && ls /mnt";
    assert_eq!(call("ch02-mount", &["run", "sh", "-c", made]), "q\n");
    // The names that `make` chooses do not contain this letter.
    assert!(!call("ch02-setns", &unshare).contains('q'));
}

#[test]
#[file_serial(machine)]
fn remove_reports_invalid_and_missing_objects() {
    let lab = Lab::new();
    for (words, code, reason) in [
        (["remove", "queue", "x"], 125, "invalid ID \"x\""),
        (["remove", "posix", "none"], 125, "must begin with a slash: /none"),
        (["remove", "posix", "/none"], 125, "mq_unlink(3) /none: ENOENT"),
        (["remove", "pipe", "1"], 2, "possible values"),
    ] {
        let mut remove = lab.chapter("ch02-ipc");
        remove.args(words).assert().code(code).stderr(contains(reason));
    }
}

fn ids(list: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(list).unwrap();
    let second = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    text.lines().skip(1).filter_map(second).collect()
}

/// A setting of the host, and its original value, which is restored at the end.
struct Setting(&'static str, String);

impl Drop for Setting {
    fn drop(&mut self) {
        if fs::read_to_string(self.0).unwrap() != self.1 {
            fs::write(self.0, &self.1).unwrap();
        }
    }
}

#[test]
#[file_serial(machine)]
fn each_namespace_has_its_own_limits_for_posix_queues() {
    let lab = Lab::new();
    let limit = "/proc/sys/fs/mqueue/queues_max";
    let Ok(outside) = fs::read_to_string(limit) else {
        return blackbox::skip("this kernel has no POSIX message queues");
    };
    let setting = Setting(limit, outside);
    let script = format!("echo 7 > {limit}; cat {limit}");
    let mut run = lab.chapter("ch02-ipc");
    run.args(["run", "sh", "-c", &script]).assert().success().stdout("7\n");
    assert_eq!(fs::read_to_string(limit).unwrap(), setting.1);
}
