//! Starting, ending and listing containers of a test by a chapter's binary.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Start a container whose script prints `ready`, and wait for that line.
pub fn started(mut command: Command, words: &[&str], script: &str) -> Child {
    command.args(words).args(["busybox", "sh", "-c", script]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.as_mut().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// A script that exits with status 3 at the end of its standard input.
pub const CAT: &str = "echo ready; cat; exit 3";

/// Close the standard input of a container, and wait for its end.
pub fn end(mut child: Child) -> Option<i32> {
    drop(child.stdin.take());
    child.wait().unwrap().code()
}

/// The output of `ps --all --json` of a chapter.
pub fn all(mut ps: assert_cmd::Command) -> Vec<Value> {
    let out = ps.args(["ps", "--all", "--json"]).assert().success().stderr("");
    serde_json::from_slice(&out.get_output().stdout).unwrap()
}

/// The ID of the only container, and its entry in the list.
pub fn only(ps: assert_cmd::Command) -> (String, Value) {
    let mut all = all(ps);
    assert_eq!(all.len(), 1, "{all:?}");
    let one = all.remove(0);
    (one["id"].as_str().unwrap().to_owned(), one)
}
