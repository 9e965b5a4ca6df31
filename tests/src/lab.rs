//! One test's laboratory.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use crate::{Snapshot, bin_dir};

/// How long a run may take before it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long after a test something may still be on its way out: the kernel takes a
/// namespace down after its last process is reaped.
const SETTLING: Duration = Duration::from_secs(2);

/// A state directory of its own, and the machine as it was.
pub struct Lab {
    dir: TempDir,
    before: Option<Snapshot>,
}

impl Lab {
    /// Look at the machine, and prepare a state directory with busybox in it.
    ///
    /// # Panics
    /// Without root, which the chapters' tests need; never a silent pass.
    #[must_use]
    pub fn new() -> Lab {
        assert!(geteuid().is_root(), "needs root: run `cargo xtask test`");
        set_child_subreaper(true).expect("prctl(2) PR_SET_CHILD_SUBREAPER");
        let dir = tempfile::tempdir().expect("a temporary directory");
        // An ordinary user's test runs in it too.
        open_to_all(dir.path());
        let mut lab = Lab { dir, before: None };
        copy_tree(&base_state(), &lab.state());
        lab.look_again();
        lab
    }

    /// A directory that goes with the test.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `MYDOCKER_ROOT` of the test.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The one layer of busybox.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        let mut layers = fs::read_dir(self.state().join("layers")).expect("layers");
        layers.next().expect("a layer").expect("a layer").path()
    }

    /// What was changed on purpose, before the part that is tested, is no leak.
    pub fn look_again(&mut self) {
        self.before = Some(Snapshot::take(&self.state()));
    }

    /// A chapter's binary, to be run.
    #[must_use]
    pub fn chapter(&self, name: &str) -> assert_cmd::Command {
        self.wrapped(&[], name)
    }

    /// The same, as the last arguments of another command.
    #[must_use]
    pub fn wrapped(&self, wrapper: &[&OsStr], name: &str) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::from_std(self.command(wrapper, name));
        command.timeout(PATIENCE);
        command
    }

    /// The same, for who wants to hold the process while it runs.
    #[must_use]
    pub fn command(&self, wrapper: &[&OsStr], name: &str) -> Command {
        let program = bin_dir().join(name);
        let mut words = wrapper.iter().copied().chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .env("MYDOCKER_ROOT", self.state())
            .env_remove("MYDOCKER_TRACE");
        command.current_dir(self.dir());
        command
    }

    /// A chapter's binary, run by an ordinary user with a home of its own.
    #[must_use]
    pub fn as_user(&self, name: &str) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::from_std(self.user_command(name));
        command.timeout(PATIENCE);
        command
    }

    /// The same, for who wants to hold the process while it runs.
    #[must_use]
    pub fn user_command(&self, name: &str) -> Command {
        let uid = user();
        // The user may not be able to reach the directory of the binaries.
        let binary = self.dir().join(name);
        if !binary.exists() {
            fs::copy(bin_dir().join(name), &binary).expect("a copy of the binary");
        }
        let home = self.dir().join("home");
        let state = home.join(".local/share/mydocker");
        if !home.exists() {
            fs::create_dir_all(&state).expect("a home");
            copy_tree(&base_state(), &state);
            give(&home, uid);
        }
        let ids = [format!("--reuid={uid}"), format!("--regid={uid}")];
        let mut command = Command::new("setpriv");
        command.args(ids).arg("--clear-groups").arg(binary);
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        command.env("HOME", home).current_dir(self.dir());
        command
    }
}

impl Default for Lab {
    fn default() -> Lab {
        Lab::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let state = self.state();
        let Some(before) = self.before.take() else { return };
        let deadline = Instant::now() + SETTLING;
        loop {
            reap_orphans();
            let left = before.differences(&Snapshot::take(&state));
            if left.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                // A test that failed has said why; a second panic would abort.
                assert!(
                    std::thread::panicking(),
                    "the machine is not as it was:\n{}",
                    left.join("\n")
                );
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// The ordinary user of the tests.
fn user() -> u32 {
    let uid = env::var("MYDOCKER_TEST_UID").ok().and_then(|uid| uid.parse().ok());
    uid.unwrap_or(1500)
}

/// Bury the descendants whose parents died.
fn reap_orphans() {
    let any = Pid::from_raw(-1);
    while let Ok(status) = waitpid(any, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// The static helper that runs inside and around containers.
///
/// # Panics
/// When it was not built: `cargo xtask test` does that.
#[must_use]
pub fn probe() -> PathBuf {
    let path = env::var_os("MYDOCKER_PROBE");
    let path = path.map_or_else(|| bin_dir().join("probe"), PathBuf::from);
    assert!(path.exists(), "no {}: run `cargo xtask test`", path.display());
    path
}

/// A state directory with busybox, made once for all tests.
fn base_state() -> PathBuf {
    let base = env::var_os("MYDOCKER_TEST_STATE");
    let base = base.map_or_else(|| bin_dir().join("blackbox-state"), PathBuf::from);
    // The chapter's own provisioning makes it; parallel test programs are its
    // business too.
    if !base.join("images/busybox.json").exists() {
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

fn copy_tree(from: &Path, to: &Path) {
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

fn give(path: &Path, uid: u32) {
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
