//! A container that runs a shell script while a test examines it.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::process::{Child, Stdio};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::{Caller, Lab, until};

/// The chapter whose binary is used.
const BIN: &str = "ch05-exec";

/// A container named `one`. It runs until this is dropped.
pub struct One<'a> {
    /// The lab of the test.
    pub lab: &'a Lab,
    /// The user of its state directory.
    pub caller: Caller,
    /// The supervisor.
    pub host: Child,
    /// Whether its program was killed, so that it ends without further action.
    pub ends: bool,
}

impl One<'_> {
    /// Start it with these options and this script. This returns when the lock file
    /// contains its process, and the script has finished and created /ready.
    pub fn new<'a>(
        lab: &'a Lab,
        caller: Caller,
        flags: &[&str],
        script: &str,
    ) -> One<'a> {
        let mut command = caller.command(lab, BIN);
        command.args(["run", "--name", "one"]).args(flags);
        command.args([
            "busybox",
            "sh",
            "-c",
            &format!("{script}\n: > /ready; exec sleep 1000"),
        ]);
        let host = command.stdin(Stdio::null()).spawn().unwrap();
        let one = One { lab, caller, host, ends: false };
        until(|| {
            let Some(id) = one.id() else { return false };
            let state = one.caller.state(lab);
            let noted = fs::read_to_string(state.join("running").join(&id));
            let ready = state.join("containers").join(&id).join("upper/ready");
            noted.is_ok_and(|text| text.contains("\nprocess ")) && ready.exists()
        });
        one
    }

    /// The container ID; `None` before it has claimed its name.
    pub fn id(&self) -> Option<String> {
        let link = fs::read_link(self.caller.state(self.lab).join("names/one"));
        Some(link.ok()?.to_str()?.to_owned())
    }

    /// The PID of its program on the host.
    pub fn pid(&self) -> i32 {
        let file =
            self.caller.state(self.lab).join("running").join(self.id().unwrap());
        let text = fs::read_to_string(file).unwrap();
        let note =
            text.lines().find_map(|line| line.strip_prefix("process ")).unwrap();
        note.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The command `exec` with these arguments.
    pub fn exec(&self, words: &[&str]) -> assert_cmd::Command {
        let mut command = self.caller.chapter(self.lab, BIN);
        command.arg("exec").args(words);
        command
    }

    /// The output of `exec` with these arguments.
    pub fn ok(&self, words: &[&str]) -> String {
        let out = self.exec(words).assert().success();
        assert_eq!(String::from_utf8_lossy(&out.get_output().stderr), "");
        String::from_utf8(out.get_output().stdout.clone()).unwrap()
    }

    /// The output of this script in the container.
    pub fn sh(&self, script: &str) -> String {
        self.ok(&["one", "sh", "-c", script])
    }

    /// Kill the supervisor, which also kills the program.
    pub fn stop(&mut self) {
        let pid = self.pid();
        // A tracer in this test may have reaped it.
        let _ = self.host.kill();
        let _ = self.host.wait();
        // Processes that `exec` started are now children of this process. PID 1 of a
        // PID namespace ends only after all other processes in it were reaped.
        until(|| {
            let flag = Some(WaitPidFlag::WNOHANG);
            while waitpid(None, flag).is_ok_and(|it| it != WaitStatus::StillAlive) {}
            matches!(state_of(pid), None | Some('Z'))
        });
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.host.kill();
            return;
        }
        if matches!(self.host.try_wait(), Ok(None)) && !self.ends {
            self.stop();
        }
        let _ = self.host.wait();
        if self.id().is_some() {
            self.caller
                .chapter(self.lab, BIN)
                .args(["rm", "one"])
                .assert()
                .success();
        }
    }
}

/// The state of a process: the letter in /proc/PID/stat.
pub fn state_of(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether the program is the only process of the container.
pub fn is_alone(one: &One) -> bool {
    let pid = one.pid();
    let own = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let inside = processes.filter(|entry| {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        number.is_some_and(|pid| !matches!(state_of(pid), None | Some('Z')))
            && fs::read_link(entry.path().join("ns/pid")).is_ok_and(|ns| ns == own)
    });
    inside.count() == 1
}
