//! The same command very often: a fault that happens once in a hundred times happens here.

use std::fs;
use std::process::Stdio;

use blackbox::{Lab, living};

use crate::count;

const BIN: &str = "ch05-rm";

/// Run a second program in one container, this number of times.
pub(crate) fn exec(times: usize) {
    let lab = Lab::new();
    let words =
        ["run", "-d", "--name", "one", "-m", "50m", "-pids", "20", "busybox"];
    let mut run = lab.command(&[], BIN);
    let run = run.args(words).args(["sleep", "1000"]).stdout(Stdio::null());
    assert!(run.status().unwrap().success());
    let own = living().len();
    let before = open();
    for number in 0..times {
        // Each run has its own arguments and its own exit status.
        let (word, code) = (number.to_string(), number % 100);
        let script = format!("echo {word}; exit {code}");
        let mut exec = lab.chapter(BIN);
        exec.args(["exec", "one", "sh", "-c", &script]);
        let code = i32::try_from(code).unwrap();
        exec.assert().code(code).stdout(format!("{word}\n")).stderr("");
    }
    count("in a row: exec", times);
    // The container has not changed: the supervisor, and the only program.
    assert_eq!(living().len(), own);
    assert_eq!(open(), before);
    lab.chapter(BIN).args(["rm", "-f", "one"]).assert().success().stdout("one\n");
    assert_eq!(lab.left(), Vec::<String>::new());
}

/// The number of open descriptors of all descendants.
fn open() -> usize {
    let count = |pid: &i32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    living().keys().map(count).sum()
}
