//! The laboratory of one test.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::snapshot::{compare, files};
use crate::watchdog::Watchdog;
use crate::{Faulty, Snapshot, Traced, bin_dir, descendants};

/// The time after which a run counts as hung.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The time limit for the leftovers of a test to disappear. The kernel removes a
/// namespace only after its last process was reaped, on a busy machine much later.
const SETTLING: Duration = Duration::from_secs(5);

/// A state directory of the test, and the state of the machine before the test.
pub struct Lab {
    dir: TempDir,
    before: Option<Snapshot>,
    /// The files of the ordinary user's state directory, after it was created.
    user: OnceLock<BTreeSet<String>>,
    watchdog: Watchdog,
}

impl Lab {
    /// Record the state of the machine, and prepare a state directory with busybox.
    ///
    /// # Panics
    /// The user is not root: the test fails, it does not pass silently.
    #[must_use]
    pub fn new() -> Lab {
        Lab::with_patience(TIMEOUT)
    }

    /// Like [`Lab::new`], with another time limit of a run.
    ///
    /// # Panics
    /// The user is not root.
    #[must_use]
    pub fn with_patience(patience: Duration) -> Lab {
        assert!(geteuid().is_root(), "needs root: run `cargo xtask test`");
        set_child_subreaper(true).expect("prctl(2) PR_SET_CHILD_SUBREAPER");
        // A shell that starts the tests in the background ignores these signals, and
        // the programs that are started here would inherit this.
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            common::default_signal(signal);
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Tests of the ordinary user use this directory too.
        open_to_all(dir.path());
        let watchdog = Watchdog::new(patience);
        let mut lab = Lab { dir, before: None, user: OnceLock::new(), watchdog };
        copy_tree(&base_state(), &lab.state());
        lab.update_snapshot();
        lab
    }

    /// A directory that is removed after the test.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `MYDOCKER_ROOT` of the test.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The only layer of busybox.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        let mut layers = fs::read_dir(self.state().join("layers")).expect("layers");
        layers.next().expect("a layer").expect("a layer").path()
    }

    /// The layers of an image, the topmost first.
    #[must_use]
    pub fn layers(&self, image: &str) -> Vec<String> {
        values(record(&self.state(), image), "layer")
    }

    /// Record the state again, so that earlier intended changes are not leaks.
    pub fn update_snapshot(&mut self) {
        self.before = Some(Snapshot::take(&self.state()));
        let state = self.user_state();
        if let Some(user) = self.user.get_mut() {
            *user = files(&state);
        }
    }

    /// The ordinary user's home directory, which contains the state directory.
    fn home(&self) -> PathBuf {
        self.dir().join("home")
    }

    /// `$XDG_DATA_HOME/mydocker` of the ordinary user.
    #[must_use]
    pub fn user_state(&self) -> PathBuf {
        self.home().join(".local/share/mydocker")
    }

    /// A command that executes a chapter's binary.
    #[must_use]
    pub fn chapter(&self, name: &str) -> assert_cmd::Command {
        self.wrapped(&[], name)
    }

    /// Like [`Lab::chapter`], but the binary and its arguments are the last
    /// arguments of the command `wrapper`.
    #[must_use]
    pub fn wrapped(&self, wrapper: &[&OsStr], name: &str) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::from_std(self.command(wrapper, name));
        command.timeout(TIMEOUT);
        command
    }

    /// Like [`Lab::wrapped`], but a command of the standard library, for tests that
    /// need the running process. Its environment is PATH, HOME, MYDOCKER_ROOT, and
    /// MYDOCKER_BUSYBOX if that is set.
    #[must_use]
    pub fn command(&self, wrapper: &[&OsStr], name: &str) -> Command {
        self.watchdog.restart();
        let program = bin_dir().join(name);
        let mut words = wrapper.iter().copied().chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_clear().envs(inherited_variables());
        command.env("HOME", self.dir()).env("MYDOCKER_ROOT", self.state());
        command.current_dir(self.dir());
        command
    }

    /// Start the command of [`Lab::command`], and stop it before each system call.
    /// `change` completes the command.
    #[must_use]
    pub fn traced(
        &self,
        name: &str,
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Traced {
        let probe = probe();
        let mut command =
            self.command(&[probe.as_os_str(), "traced".as_ref()], name);
        change(&mut command);
        Traced::start(command)
    }

    /// Like [`Lab::traced`], for a test that has other children.
    /// [`Lab::traced_stderr`] returns the standard error.
    #[must_use]
    pub fn traced_with_stderr(&self, name: &str, words: &[&str]) -> Traced {
        let said = fs::File::create(self.dir().join("said")).expect("a file");
        let run = self.traced(name, |command| {
            command.args(words).stdout(Stdio::null()).stderr(said)
        });
        run.beside_others()
    }

    /// The standard error of the last command of [`Lab::traced_with_stderr`].
    #[must_use]
    pub fn traced_stderr(&self) -> String {
        fs::read_to_string(self.dir().join("said")).expect("a file")
    }

    /// A command that executes a chapter's binary as an ordinary user with a home
    /// directory.
    #[must_use]
    pub fn as_user(&self, name: &str) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::from_std(self.user_command(name));
        command.timeout(TIMEOUT);
        command
    }

    /// Like [`Lab::as_user`], but a command of the standard library, for tests that
    /// need the running process.
    #[must_use]
    pub fn user_command(&self, name: &str) -> Command {
        self.watchdog.restart();
        // The user may not be able to reach the directory of the binaries.
        let reachable = |binary: PathBuf| {
            let copy = self.dir().join(binary.file_name().unwrap_or_default());
            if !copy.exists() {
                fs::copy(binary, &copy).expect("a copy of the binary");
            }
            copy
        };
        self.user.get_or_init(|| {
            copy_tree(&base_state(), &self.user_state());
            give(&self.home(), user());
            files(&self.user_state())
        });
        let mut command = Command::new(reachable(probe()));
        command.args(["user", &user().to_string()]);
        command.arg(reachable(bin_dir().join(name)));
        command.env_clear().envs(inherited_variables()).env("HOME", self.home());
        command.current_dir(self.dir());
        command
    }

    /// Start the command of [`Lab::command`], and stop it at each system call with
    /// this number, or at all system calls.
    #[must_use]
    pub fn faulty(
        &self,
        name: &str,
        call: Option<i64>,
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Faulty {
        let probe = probe();
        let call = call.map_or("all".to_owned(), |number| number.to_string());
        let words = [probe.as_os_str(), "filtered".as_ref(), call.as_ref()];
        let mut command = self.command(&words, name);
        change(&mut command);
        Faulty::start(command)
    }

    /// The changes of the machine, one per line, after the kernel has removed ended
    /// processes and their namespaces.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let Some(before) = &self.before else { return Vec::new() };
        let deadline = Instant::now() + SETTLING;
        loop {
            descendants::reap();
            let left = self.differences(before);
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Whether the watchdog has killed a run since the last call of this function.
    #[must_use]
    pub fn has_killed(&self) -> bool {
        self.watchdog.has_killed()
    }

    /// The changes of the machine, one per line.
    fn differences(&self, before: &Snapshot) -> Vec<String> {
        let mut found = before.differences(&Snapshot::take(&self.state()));
        if let Some(before) = self.user.get() {
            let after = files(&self.user_state());
            found.extend(compare("user's file", before, &after));
        }
        found
    }
}

impl Default for Lab {
    fn default() -> Lab {
        Lab::new()
    }
}

impl Lab {
    /// End the test, and return the changes of the machine, one per line.
    #[must_use]
    pub fn close(mut self) -> Vec<String> {
        self.settle().unwrap_or_default()
    }

    /// Like [`Lab::close`]; `None` if the test has already ended.
    fn settle(&mut self) -> Option<Vec<String>> {
        self.before.as_ref()?;
        let left = self.left();
        self.before = None;
        // Remove the leftovers, so that the next test does not find them.
        descendants::end();
        Some(left)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some(left) = self.settle() else { return };
        // A failed test has already reported its error; a second panic would abort.
        if !std::thread::panicking() {
            assert!(
                !self.watchdog.has_killed(),
                "a run took too long and was killed"
            );
            let left = left.join("\n");
            assert!(left.is_empty(), "the machine has changed:\n{left}");
        }
    }
}

/// The caller's environment variables that a chapter also gets.
fn inherited_variables() -> impl Iterator<Item = (&'static str, OsString)> {
    let names = ["PATH", "MYDOCKER_BUSYBOX"];
    names.into_iter().filter_map(|name| Some((name, env::var_os(name)?)))
}

/// The UID of the tests' ordinary user: `$MYDOCKER_TEST_UID`, or 1500.
#[must_use]
pub fn user() -> u32 {
    let uid = env::var("MYDOCKER_TEST_UID").ok().and_then(|uid| uid.parse().ok());
    uid.unwrap_or(1500)
}

/// The static helper that runs inside and around containers.
///
/// # Panics
/// It was not built; `cargo xtask test` builds it.
#[must_use]
pub fn probe() -> PathBuf {
    let path = env::var_os("MYDOCKER_PROBE");
    let path = path.map_or_else(|| bin_dir().join("probe"), PathBuf::from);
    assert!(path.exists(), "no {}: run `cargo xtask test`", path.display());
    path
}

/// The record of the image with this name, which has the tag `latest`.
#[must_use]
pub fn record(state: &Path, image: &str) -> PathBuf {
    state.join("images/names").join(format!("{image}:latest"))
}

/// A state directory with busybox, created once for all tests.
pub(crate) fn base_state() -> PathBuf {
    let base = env::var_os("MYDOCKER_TEST_STATE");
    let base = base.map_or_else(|| bin_dir().join("blackbox-state"), PathBuf::from);
    // A chapter creates it. The chapter also handles test programs that run in
    // parallel.
    if !record(&base, "busybox").exists() {
        let mut command = Command::new(bin_dir().join("ch04-overlay"));
        command.env("MYDOCKER_ROOT", &base).args(["run", "true"]);
        let status = command.status().expect("ch04-overlay runs");
        assert!(status.success(), "ch04-overlay run true: {status}");
    }
    base
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod(2)");
}

/// Copy a directory tree, including modes.
///
/// # Panics
/// A file cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("mkdir(2)");
    for entry in fs::read_dir(from).expect("readdir(3)").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("lstat(2)");
        if kind.is_dir() {
            copy_tree(&from, &to);
            let mode = fs::metadata(&from).expect("stat(2)").permissions();
            fs::set_permissions(&to, mode).expect("chmod(2)");
        } else if kind.is_symlink() {
            let target = fs::read_link(&from).expect("readlink(2)");
            symlink(target, &to).expect("symlink(2)");
        } else {
            fs::copy(&from, &to).expect("copy");
        }
    }
}

pub(crate) fn give(path: &Path, uid: u32) {
    if path.is_symlink() {
        return;
    }
    chown(path, Some(uid), Some(uid)).expect("chown(2)");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("readdir(3)").flatten() {
            give(&entry.path(), uid);
        }
    }
}

/// The end of a container, read from its directory: the exit status or signal, and
/// the time in seconds after 1970.
#[must_use]
pub fn end_of(container: &Path) -> (String, u64) {
    let text = fs::read_link(container.join("ended")).expect("readlink(2) ended");
    let text = text.to_str().expect("a text");
    let (how, at) = text.split_once(' ').expect("two words");
    (how.to_owned(), at.parse().expect("a number"))
}

/// The values of the fields with this name in a record.
///
/// # Panics
/// The record cannot be read, or is truncated.
#[must_use]
pub fn values(path: impl AsRef<Path>, name: &str) -> Vec<String> {
    let text = fs::read(path).expect("a record");
    let text = String::from_utf8_lossy(&text);
    assert!(text.ends_with("\nend\n"), "a truncated record: {text:?}");
    let values =
        text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.map(str::to_owned).collect()
}
