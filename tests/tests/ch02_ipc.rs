//! ch02-ipc: queues made outside don't exist inside.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::process::Command;

use blackbox::Lab;
use predicates::prelude::*;
use serial_test::file_serial;

/// A System V message queue on the host, removed at the end.
struct Queue(String);

impl Queue {
    fn new() -> Queue {
        let out =
            Command::new("ipcmk").arg("-Q").output().expect("ipcmk of util-linux");
        let text = String::from_utf8(out.stdout).unwrap();
        Queue(text.trim().rsplit(' ').next().unwrap().to_owned())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let removed = Command::new("ipcrm").args(["-q", &self.0]).status();
        assert!(removed.is_ok_and(|status| status.success()));
    }
}

#[test]
#[file_serial(machine)]
fn a_queue_made_outside_is_not_listed_inside() {
    let lab = Lab::new();
    let _queue = Queue::new();
    // What the host lists: a heading and the queue.
    let outside = std::fs::read_to_string("/proc/sysvipc/msg").unwrap();
    assert!(outside.lines().count() > 1, "{outside}");
    let mut run = lab.chapter("ch02-ipc");
    run.args(["run", "sh", "-c", "wc -l < /proc/sysvipc/msg"]);
    run.assert().success().stdout("1\n");
    // The chapter before does not have this wall yet.
    let mut run = lab.chapter("ch02-uts");
    run.args(["run", "sh", "-c", "wc -l < /proc/sysvipc/msg"]);
    run.assert().success().stdout(predicate::ne("1\n"));
}

#[test]
#[file_serial(machine)]
fn a_queue_made_inside_goes_with_the_namespace() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch02-ipc");
    run.args(["run", "sh", "-c", "ipcmk -Q >/dev/null; wc -l < /proc/sysvipc/msg"]);
    run.assert().success().stdout("2\n");
    // The lab compares the host's lists.
}
