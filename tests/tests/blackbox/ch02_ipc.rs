//! ch02-ipc: queues made outside don't exist inside.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use blackbox::Lab;
use predicates::prelude::*;
use serial_test::file_serial;

/// System V objects, one of each kind: the flag of ipcmk(1), the flag of ipcrm(1),
/// and the kernel's list.
const KINDS: [(&[&str], &str, &str); 3] = [
    (&["-Q"], "-q", "/proc/sysvipc/msg"),
    (&["-S", "1"], "-s", "/proc/sysvipc/sem"),
    (&["-M", "4096"], "-m", "/proc/sysvipc/shm"),
];

/// One on the host, removed at the end.
struct Object(String, &'static str);

impl Object {
    fn new(make: &[&str], remove: &'static str) -> Object {
        let out = Command::new("ipcmk").args(make).output();
        let out = out.expect("ipcmk of util-linux");
        let text = String::from_utf8(out.stdout).unwrap();
        Object(text.trim().rsplit(' ').next().unwrap().to_owned(), remove)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let removed = Command::new("ipcrm").args([self.1, &self.0]).status();
        assert!(removed.is_ok_and(|status| status.success()));
    }
}

#[test]
#[file_serial(machine)]
fn queues_semaphores_and_shared_memory_made_outside_are_not_listed_inside() {
    let lab = Lab::new();
    for (make, remove, list) in KINDS {
        let _object = Object::new(make, remove);
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
    for (make, remove, list) in KINDS {
        let before = ids(list);
        let script = format!("ipcmk {} >/dev/null; wc -l < {list}", make.join(" "));
        let mut run = lab.chapter("ch02-ipc");
        let run = run.args(["run", "sh", "-c", &script]).assert();
        // Without a wall it is the host's, which must not keep it.
        let left: Vec<_> = ids(list).difference(&before).cloned().collect();
        left.iter().for_each(|id| drop(Object(id.clone(), remove)));
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
