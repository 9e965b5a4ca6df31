//! The data that `cargo xtask grade` passes to its checks in the VM, and their
//! answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The adapter file: how to make a program run a container. Omitted fields have the
/// values for this course's own chapters.
///
/// In all words, `{binary}` stands for the program, `{state}` for a state directory,
/// `{image}` for a directory with busybox as root filesystem, and `{scratch}` for a
/// directory that is removed after the check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adapter {
    /// The command line. The words `{tty}`, `{hostname}`, `{volumes}`, `{limits}`
    /// and `{command}` are replaced by zero or more words each.
    pub run: Vec<String>,
    /// Options for a terminal.
    pub tty: Vec<String>,
    /// Options for the hostname: `{name}`.
    pub hostname: Vec<String>,
    /// Options for a volume: `{host}` and `{guest}`.
    pub volume: Vec<String>,
    /// Options for a read-only volume.
    pub volume_read_only: Vec<String>,
    /// Options for the memory limit: `{bytes}`.
    pub memory: Vec<String>,
    /// Options for the maximum number of processes: `{count}`.
    pub pids: Vec<String>,
    /// Environment variables of the program, besides PATH and HOME.
    pub environment: BTreeMap<String, String>,
    /// The exit status if the container cannot be created.
    pub own_error: i32,
    /// The capabilities that the program claims [default: all of the chapter].
    pub capabilities: Option<Vec<String>>,
    /// Files and directories of this machine that the program needs in the VM.
    pub files: Vec<String>,
}

impl Default for Adapter {
    fn default() -> Adapter {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        Adapter {
            run: words("{binary} run {tty} {hostname} {volumes} {limits} {command}"),
            tty: words("-ti"),
            hostname: words("--hostname {name}"),
            volume: words("-v {host}:{guest}"),
            volume_read_only: words("-v {host}:{guest}:ro"),
            memory: words("-m {bytes}"),
            pids: words("-pids {count}"),
            environment: [("MYDOCKER_ROOT".to_owned(), "{state}".to_owned())].into(),
            own_error: 125,
            capabilities: None,
            files: Vec::new(),
        }
    }
}

/// The program that the checks test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The program's path in the VM.
    pub binary: String,
    /// How to run the program.
    pub adapter: Adapter,
    /// Symlinks outside of /usr, with their targets.
    pub links: BTreeMap<String, String>,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The name of the capability or exercise.
    pub group: String,
    /// The name of the check: a sentence whose words are joined by `_`.
    pub name: String,
    /// For exercises: what the unchanged checkout does instead.
    pub before: String,
}

/// The status of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The result is as expected, and nothing was left behind.
    Pass,
    /// The kernel lacks a feature, or the capability is not claimed.
    Skip,
    /// The result is as expected, but something was left behind.
    Leak,
    /// The program could not be started, crashed, reported its own failure, or did
    /// not accept the command line.
    Error,
    /// The result differs from the expected one.
    Fail,
}

/// The answer: one line of JSON after [`ANSWER`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The status.
    pub status: Status,
    /// The expected result.
    pub expected: String,
    /// The actual result; for a skip, the reason.
    pub actual: String,
    /// The leftovers.
    pub left: Vec<String>,
    /// The command lines that were executed.
    pub commands: Vec<String>,
    /// The end of their output.
    pub output: String,
}

/// The prefix of the line with the answer.
pub const ANSWER: &str = "answer: ";
