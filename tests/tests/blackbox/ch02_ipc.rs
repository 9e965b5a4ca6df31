//! ch02-ipc: queues made outside don't exist inside.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use blackbox::{Lab, probe};
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

/// System V objects, one of each kind: the probe's word for it, and the kernel's
/// list.
const KINDS: [(&str, &str); 3] = [
    ("queue", "/proc/sysvipc/msg"),
    ("semaphores", "/proc/sysvipc/sem"),
    ("memory", "/proc/sysvipc/shm"),
];

/// One on the host, removed at the end.
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
fn queues_semaphores_and_shared_memory_made_outside_are_not_listed_inside() {
    let lab = Lab::new();
    for (kind, list) in KINDS {
        let _object = Object::new(kind);
        // What the host lists: a heading and the object.
        let outside = fs::read_to_string(list).unwrap();
        assert!(outside.lines().count() > 1, "{outside}");
        let script = format!("wc -l < {list}");
        let mut run = lab.chapter("ch02-ipc");
        run.args(["run", "sh", "-c", &script]).assert().success().stdout("1\n");
        // The chapter before does not have this wall yet.
        let mut run = lab.chapter("ch02-uts");
        run.args(["run", "sh", "-c", &script]);
        run.assert().success().stdout(predicate::ne("1\n"));
    }
}

#[test]
#[file_serial(machine)]
fn what_is_made_inside_goes_with_the_namespace() {
    let lab = Lab::new();
    for (kind, list) in KINDS {
        let before = ids(list);
        let script = format!("$0 make {kind} >/dev/null; wc -l < {list}");
        let mut run = lab.chapter("ch02-ipc");
        let run = run.args(["run", "sh", "-c", &script]).arg(probe()).assert();
        // Without a wall it is the host's, which must not keep it.
        let left: Vec<_> = ids(list).difference(&before).cloned().collect();
        left.iter().for_each(|id| drop(Object(kind, id.clone())));
        assert!(left.is_empty(), "{list}: {left:?}");
        run.success().stdout("2\n");
    }
}

#[test]
#[file_serial(machine)]
fn each_kind_is_made_listed_and_removed_outside_and_unseen_inside() {
    let lab = Lab::new();
    let call = |words: &[&str]| {
        let assert = lab.chapter("ch02-ipc").args(words).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    for (kind, file) in KINDS {
        let id = call(&["make", kind]);
        let id = id.trim();
        let row = format!("{kind:<12}{id}\n");
        assert!(call(&["list"]).contains(&row), "{}", call(&["list"]));
        // The kernel's own list inside has a heading alone.
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
fn a_posix_queue_made_outside_is_unseen_inside_and_the_other_way_round() {
    let lab = Lab::new();
    let call = |chapter: &str, words: &[&str]| {
        let assert = lab.chapter(chapter).args(words).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let name = call("ch02-ipc", &["make", "posix"]);
    let name = name.trim();
    // The file system shows the namespace of who mounted it. A mount takes the mount
    // wall of two chapters on, which has this chapter's too.
    let look = "mount -t mqueue none /mnt && ls /mnt";
    let inside = call("ch02-mount", &["run", "sh", "-c", look]);
    // Without the IPC wall it is there.
    let unshare = ["unshare", "--mount", "sh", "-c", look];
    let outside = call("ch02-setns", &unshare);
    call("ch02-ipc", &["remove", "posix", name]);
    assert_eq!(inside, "");
    assert!(outside.contains(&name[1..]), "{name}: {outside}");
    let made = "mount -t mqueue none /mnt && : > /mnt/q && ls /mnt";
    assert_eq!(call("ch02-mount", &["run", "sh", "-c", made]), "q\n");
    // Names of make have no such letter.
    assert!(!call("ch02-setns", &unshare).contains('q'));
}

#[test]
#[file_serial(machine)]
fn what_can_not_be_removed_is_named() {
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

/// A setting of the host, and what it was.
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
fn the_limits_of_posix_queues_are_the_namespaces_own() {
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
