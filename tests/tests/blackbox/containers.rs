//! Functions with which the tests of ch05-env, ch05-init and ch05-attach run containers.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::path::PathBuf;

use blackbox::{Caller, Lab};

/// The command `run --rm` of this chapter with these arguments.
pub(crate) fn run(
    lab: &Lab,
    bin: &str,
    caller: Caller,
    words: &[&str],
) -> assert_cmd::Command {
    let mut command = caller.chapter(lab, bin);
    command.args(["run", "--rm"]).args(words);
    command
}

/// The stdout of a run that must succeed.
pub(crate) fn ok(lab: &Lab, bin: &str, caller: Caller, words: &[&str]) -> String {
    let out = run(lab, bin, caller, words).assert().success();
    String::from_utf8(out.get_output().stdout.clone()).unwrap()
}

/// The stdout of a shell script in a container with these flags, as root.
pub(crate) fn sh(lab: &Lab, bin: &str, flags: &[&str], script: &str) -> String {
    let words = [flags, &["busybox", "sh", "-c", script]].concat();
    ok(lab, bin, Caller::Root, &words)
}

/// Add accounts to the image that the host does not have.
pub(crate) fn accounts(lab: &mut Lab) {
    let etc = lab.image().join("etc");
    let passwd =
        "root:x:0:0:root:/root:/bin/sh\nann:x:1234:2345::/home/ann:/bin/sh\n";
    fs::write(etc.join("passwd"), passwd).unwrap();
    let group = "root:x:0:\nstaff:x:50:bob,ann\naudio:x:29:ann\n";
    fs::write(etc.join("group"), group).unwrap();
    lab.update_snapshot();
}

/// A detached container, which is removed when this value is dropped.
pub(crate) struct Detached<'a> {
    lab: &'a Lab,
    bin: &'a str,
    caller: Caller,
    pub(crate) id: String,
}

impl Detached<'_> {
    /// Execute `run -d --name one` of this chapter with these arguments.
    pub(crate) fn new<'a>(
        lab: &'a Lab,
        bin: &'a str,
        caller: Caller,
        words: &[&str],
    ) -> Detached<'a> {
        let mut command = caller.chapter(lab, bin);
        command.args(["run", "-d", "--name", "one"]).args(words);
        let out = command.assert().success();
        let id = String::from_utf8(out.get_output().stdout.clone()).unwrap();
        Detached { lab, bin, caller, id: id.trim().to_owned() }
    }

    /// Run a command, and return its stdout. Its stderr must be empty.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let out =
            self.caller.chapter(self.lab, self.bin).args(words).assert().success();
        assert_eq!(String::from_utf8_lossy(&out.get_output().stderr), "");
        String::from_utf8(out.get_output().stdout.clone()).unwrap()
    }

    /// The state directory of the container.
    pub(crate) fn state(&self) -> PathBuf {
        self.caller.state(self.lab)
    }

    /// The PID in the note of this kind: `host`, `process` or `program`.
    pub(crate) fn noted(&self, kind: &str) -> i32 {
        let file = self.state().join("running").join(&self.id);
        let text = fs::read_to_string(file).unwrap();
        let kind = format!("{kind} ");
        let note = text.lines().find_map(|line| line.strip_prefix(&kind)).unwrap();
        // The PID is followed by the start time.
        note.rsplit(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The number of the container's processes in this state, as the host sees them.
    pub(crate) fn count(&self, state: char) -> usize {
        let own = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let namespace = own(&self.noted("process").to_string());
        assert!(namespace.is_some());
        let all = fs::read_dir("/proc").unwrap();
        let pids =
            all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        pids.filter(|pid| pid.parse::<u32>().is_ok() && own(pid) == namespace)
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
            .filter(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with(state))
            })
            .count()
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let mut rm = self.caller.chapter(self.lab, self.bin);
        rm.args(["rm", "-f", "one"]);
        if std::thread::panicking() {
            let _ = rm.output();
        } else {
            rm.assert().success();
        }
    }
}
