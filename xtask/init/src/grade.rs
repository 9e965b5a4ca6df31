//! What `cargo xtask grade` tells its checks in the VM, and what they answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How somebody's program is told to run a container: the adapter file. What it
/// leaves out is as with our own chapters.
///
/// In all words `{binary}` stands for the program, `{state}` for a directory to keep
/// things in, `{image}` for a directory with busybox as root file system, and
/// `{scratch}` for a directory that goes with the check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adapter {
    /// The command line. A word that is `{tty}`, `{hostname}`, `{volumes}`,
    /// `{limits}` or `{command}` becomes as many words as there are, or none.
    pub run: Vec<String>,
    /// Ask for a terminal.
    pub tty: Vec<String>,
    /// Set the host name: `{name}`.
    pub hostname: Vec<String>,
    /// A volume: `{host}` and `{guest}`.
    pub volume: Vec<String>,
    /// A volume that is only read.
    pub volume_read_only: Vec<String>,
    /// Cap the memory: `{bytes}`.
    pub memory: Vec<String>,
    /// Cap the number of processes: `{count}`.
    pub pids: Vec<String>,
    /// Variables of the program's environment, beside PATH and HOME.
    pub environment: BTreeMap<String, String>,
    /// The exit code when it could not make a container.
    pub own_error: i32,
    /// What it claims to do [default: all of the chapter].
    pub capabilities: Option<Vec<String>>,
    /// Files and directories of this machine that it needs in the VM.
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

/// What the checks are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The program's path in the VM.
    pub binary: String,
    /// How it is run.
    pub adapter: Adapter,
    /// Places outside of /usr, and what a symlink there leads to.
    pub links: BTreeMap<String, String>,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Of the capability or exercise.
    pub group: String,
    /// A sentence, its words joined by `_`.
    pub name: String,
    /// What the unchanged checkout does instead: for exercises.
    pub before: String,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As expected, and nothing was left behind.
    Pass,
    /// The kernel lacks what it takes, or it is not claimed.
    Skip,
    /// As expected, and something was left behind.
    Leak,
    /// It could not be started, crashed, gave up, or did not know the command line.
    Error,
    /// Something else than expected.
    Fail,
}

/// The answer, one line of JSON behind [`ANSWER`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What became of it.
    pub status: Status,
    /// What should be.
    pub expected: String,
    /// What is; of a skip the reason.
    pub actual: String,
    /// What was left behind.
    pub left: Vec<String>,
    /// The command lines that were run.
    pub commands: Vec<String>,
    /// The end of what they printed.
    pub output: String,
}

/// How the line of an answer begins.
pub const ANSWER: &str = "answer: ";
