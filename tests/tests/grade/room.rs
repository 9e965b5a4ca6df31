//! The environment of one check: a machine that looks like a host and that is discarded
//! afterwards, and a laboratory that reports what was left behind.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::{Lab, living, user};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;
use vm_init::grade::{Answer, Status, Subject};

use crate::outcome::Outcome;

/// PID 1 ends a check that hangs. The watchdog of the laboratory never does.
const NEVER: Duration = Duration::from_secs(3600);

/// The time within which an expected event must happen.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The time within which a process must end.
const FAREWELL: Duration = Duration::from_secs(20);

/// The maximum number of leftovers in a report.
const MOST: usize = 20;

/// The environment of one check.
pub(crate) struct Room {
    pub(crate) lab: Lab,
    pub(crate) subject: Subject,
    /// The command lines that were run, and the end of their output.
    pub(crate) commands: RefCell<Vec<String>>,
    pub(crate) output: RefCell<String>,
}

impl Room {
    /// Create the room. For an exercise, `group` names the chapter whose binary is checked.
    pub(crate) fn open(group: &str) -> Room {
        // Changes in these namespaces do not affect the next check.
        unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC,
        )
        .expect("unshare(2)");
        // As systemd does: a careless mount inside appears outside.
        for kind in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
            let (none, flags) = (None::<&str>, MsFlags::MS_REC | kind);
            mount(none, "/", none, flags, none).expect("mount(2) /");
        }
        sethostname("outside").expect("sethostname(2)");
        let subject = subject(group);
        for (place, target) in &subject.links {
            let place = Path::new(place);
            if place.symlink_metadata().is_err() {
                let parent = place.parent().expect("a parent");
                fs::create_dir_all(parent).expect("mkdir(2)");
                symlink(target, place).expect("symlink(2)");
            }
        }
        let mut lab = Lab::with_patience(NEVER);
        fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755)).unwrap();
        lab.update_snapshot();
        Room {
            lab,
            subject,
            commands: RefCell::default(),
            output: RefCell::default(),
        }
    }

    /// A path that is removed after the check.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.lab.dir().join(name)
    }

    /// A directory at such a path, which every user may use.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("mkdir(2)");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        path
    }

    /// A word of the adapter in which the general placeholders are replaced.
    pub(crate) fn fill(&self, word: &str, as_user: bool) -> String {
        let state = if as_user { self.lab.user_state() } else { self.lab.state() };
        word.replace("{binary}", &self.subject.binary)
            .replace("{state}", &state.to_string_lossy())
            .replace("{image}", &self.lab.image().to_string_lossy())
            .replace("{scratch}", &self.lab.dir().to_string_lossy())
    }

    /// The directory of the only container.
    pub(crate) fn container(&self) -> Option<PathBuf> {
        let mut all = fs::read_dir(self.lab.state().join("containers")).ok()?;
        Some(all.next()?.ok()?.path())
    }

    /// The text of the log of the only container.
    pub(crate) fn log(&self) -> String {
        let log = self.container().map(|it| it.join("log")).unwrap_or_default();
        fs::read_to_string(log).unwrap_or_default()
    }

    /// A command of the ordinary user, with a home directory.
    pub(crate) fn user_command(&self) -> Command {
        // This creates the home directory, and copies the probe so that the user can
        // execute it.
        let prepared = self.lab.user_command("probe");
        let mut command = Command::new(prepared.get_program());
        command.args(["user", &user().to_string()]);
        command.env_clear().env("HOME", self.path("home"));
        command
    }

    /// Wait until no process has this name. Returns false if the time is over.
    pub(crate) fn gone(&self, name: &str) -> bool {
        let none = || living().into_values().all(|it| it != name).then_some(());
        wait_within(FAREWELL, none).is_some()
    }

    /// Close the room, and return the answer of the check.
    pub(crate) fn close(self, outcome: Outcome) -> Answer {
        let Room { lab, commands, output, .. } = self;
        let mut left = lab.close();
        for line in left.iter().rev() {
            // The next check must not find this group.
            if let Some(group) = line.strip_prefix("cgroup left: ") {
                let _ = fs::remove_dir(group);
            }
        }
        // If a complete /proc was left in the image, the report does not list all of it.
        left.truncate(MOST);
        let (status, expected, actual) = match outcome {
            Ok(()) if left.is_empty() => {
                (Status::Pass, String::new(), String::new())
            }
            Ok(()) => {
                (Status::Leak, "no change of the machine".into(), left.join("; "))
            }
            Err(trouble) => (trouble.status, trouble.expected, trouble.actual),
        };
        let (commands, output) = (commands.into_inner(), output.into_inner());
        Answer { status, expected, actual, left, commands, output }
    }
}

/// Wait until `look` returns a value.
pub(crate) fn wait_for<T>(look: impl FnMut() -> Option<T>) -> Option<T> {
    wait_within(TIMEOUT, look)
}

/// Wait until `look` returns a value, at most as long as `limit`.
pub(crate) fn wait_within<T>(
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        sleep(Duration::from_millis(10));
    }
}

/// The program that is graded, or, for an exercise, the program of the chapter.
fn subject(group: &str) -> Subject {
    if group.starts_with("ch") {
        let chapter = group.rsplit_once('-').map_or(group, |(chapter, _)| chapter);
        return Subject {
            binary: blackbox::bin_dir().join(chapter).to_string_lossy().into_owned(),
            adapter: Default::default(),
            links: Default::default(),
        };
    }
    let path = std::env::var_os("MYDOCKER_GRADE").expect("MYDOCKER_GRADE");
    let text = fs::read(&path).expect("what is to be graded");
    serde_json::from_slice(&text).expect("what is to be graded")
}
