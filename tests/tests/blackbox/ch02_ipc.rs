//! ch02-ipc: queues made outside don't exist inside.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use blackbox::{Lab, probe};
use predicates::prelude::*;
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
