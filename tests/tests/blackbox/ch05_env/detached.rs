//! A container in the background, as the tests hold it.

use std::fs;
use std::path::PathBuf;

use blackbox::Lab;

use super::{BIN, By};

/// A container in the background, that goes with this.
pub(super) struct Detached<'a> {
    pub(super) lab: &'a Lab,
    new: By,
    pub(super) id: String,
}

impl Detached<'_> {
    pub(super) fn new<'a>(lab: &'a Lab, new: By, words: &[&str]) -> Detached<'a> {
        let mut command = new(lab, BIN);
        command.args(["run", "-d", "--name", "one"]).args(words);
        let out = command.assert().success();
        let id = String::from_utf8(out.get_output().stdout.clone()).unwrap();
        Detached { lab, new, id: id.trim().to_owned() }
    }

    /// What a command printed.
    pub(super) fn ok(&self, words: &[&str]) -> String {
        let out = (self.new)(self.lab, BIN).args(words).assert().success();
        assert_eq!(String::from_utf8_lossy(&out.get_output().stderr), "");
        String::from_utf8(out.get_output().stdout.clone()).unwrap()
    }

    pub(super) fn state(&self) -> PathBuf {
        let root = self.new as usize == Lab::chapter as By as usize;
        if root { self.lab.state() } else { self.lab.user_state() }
    }

    /// What its host side has noted of a process, on the host.
    pub(super) fn noted(&self, role: &str) -> i32 {
        let file = self.state().join("running").join(&self.id);
        let text = fs::read_to_string(file).unwrap();
        let role = format!("home {role} ");
        let note = text.lines().find_map(|line| line.strip_prefix(&role)).unwrap();
        note.split(' ').next().unwrap().parse().unwrap()
    }

    /// How many processes of its own are in this state. Seen from the host: who looks is
    /// none of them.
    pub(super) fn count(&self, state: char) -> usize {
        let own = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let namespace = own(&self.noted("pid").to_string());
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
        let mut rm = (self.new)(self.lab, BIN);
        rm.args(["rm", "-f", "one"]);
        if std::thread::panicking() {
            let _ = rm.output();
        } else {
            rm.assert().success();
        }
    }
}
