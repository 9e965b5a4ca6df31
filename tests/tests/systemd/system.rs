//! A system whose process 1 is systemd.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot, sethostname};

use crate::files::{fill, mounted};

/// The files of the packages in the VM. xtask/src/vm/systemd.rs packs them.
const PACKAGES: &str = "/usr/share/systemd-root";

/// The cgroup whose descendants the system manages.
const GROUP: &str = "/sys/fs/cgroup/system";

/// The time limit of a boot and of a command. A VM by emulation is slow.
const LIMIT: Duration = Duration::from_secs(120);

/// The directory for the system's files.
const WORK: &str = "/tmp/system";

/// The output of process 1.
const CONSOLE: &str = "/tmp/console";

/// A running system. Its commands are started by the thread that created its
/// namespaces.
pub(crate) struct System {
    process_1: Child,
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl System {
    /// Boot a system, run a test in it, and end the system.
    pub(crate) fn with(test: impl FnOnce(&System) + Send + 'static) {
        prepare();
        let console = File::create(CONSOLE).unwrap();
        // Namespaces belong to a thread, and so does the root directory after
        // unshare(2) with CLONE_NEWNS.
        let outcome = thread::spawn(move || {
            enter();
            let mut system = boot(&console);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                system.wait_until_running();
                test(&system);
            }));
            let ended = system.process_1.try_wait().unwrap();
            if outcome.is_err() && ended.is_none() {
                let journal =
                    system.root("journalctl --no-pager -b -o short | tail -60");
                eprintln!("the journal:\n{}{}", journal.out, journal.err);
            }
            // The end of process 1 ends all processes of its PID namespace.
            system.process_1.kill().unwrap();
            system.process_1.wait().unwrap();
            if let Some(status) = ended {
                eprintln!("process 1 had ended: {status}");
            }
            outcome
        });
        let outcome = outcome.join().unwrap();
        if outcome.is_err() {
            eprintln!("the console:\n{}", fs::read_to_string(CONSOLE).unwrap());
        }
        fs::remove_file(CONSOLE).unwrap();
        fs::remove_dir(WORK).unwrap();
        remove_groups(Path::new(GROUP));
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }

    /// Run a command of sh as root, below process 1 as a system service would.
    pub(crate) fn root(&self, script: &str) -> Output {
        let enter = "echo 0 > /sys/fs/cgroup/init.scope/cgroup.procs; eval \"$0\"";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", enter, script]);
        output(&mut command)
    }

    /// The same for a command that succeeds and prints no error. Returns its output.
    pub(crate) fn ok(&self, script: &str) -> String {
        let output = self.root(script);
        assert_eq!(
            (output.code, output.err.as_str()),
            (0, ""),
            "{script}: {output:?}"
        );
        output.out
    }

    /// Run a command of sh in a login session of the ordinary user.
    pub(crate) fn login(&self, script: &str) -> Output {
        let quoted = script.replace('\'', "'\\''");
        self.root(&format!(
            "systemd-run --quiet --wait --pipe --collect -p User=learner \
             -p PAMName=login -p WorkingDirectory=/home/learner \
             sh -c '{quoted}'"
        ))
    }

    fn wait_until_running(&self) {
        let end = Instant::now() + LIMIT;
        loop {
            let state = self.root("systemctl is-system-running");
            match state.out.trim() {
                "running" | "degraded" => return,
                _ if Instant::now() > end => {
                    panic!("no boot within {LIMIT:?}: {state:?}")
                }
                _ => thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// No container has left a cgroup.
    pub(crate) fn has_no_group(&self) {
        let left = self.root("find /sys/fs/cgroup -name 'mydocker*'");
        assert_eq!(left.out, "", "{left:?}");
    }
}

/// Create the cgroup of the system, with all controllers, and its directory.
fn prepare() {
    fs::create_dir(GROUP).unwrap();
    fs::create_dir(WORK).unwrap();
    let above = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(above.join("cgroup.controllers")).unwrap();
    for controller in controllers.split_whitespace() {
        fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"))
            .unwrap();
    }
}

/// Give this thread new namespaces, whose root directory has the packages' files.
fn enter() {
    let procs = "cgroup.procs";
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    let own = Path::new("/sys/fs/cgroup").join(own).join(procs);
    // The root of a new cgroup namespace is the cgroup in which its creator is.
    fs::write(Path::new(GROUP).join(procs), "0").unwrap();
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWCGROUP
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .unwrap();
    fs::write(own, "0").unwrap();
    sethostname("system").unwrap();
    mounted("", "/", "", MsFlags::MS_REC | MsFlags::MS_PRIVATE, "");

    let work = Path::new(WORK);
    mounted("tmpfs", WORK, "tmpfs", MsFlags::empty(), "");
    for name in ["root", "upper", "work"] {
        fs::create_dir_all(work.join(name)).unwrap();
    }
    let root = work.join("root");
    let options = format!(
        "lowerdir={PACKAGES},upperdir={},workdir={}",
        work.join("upper").display(),
        work.join("work").display()
    );
    mounted(
        "overlay",
        root.to_str().unwrap(),
        "overlay",
        MsFlags::empty(),
        &options,
    );
    fill(&root);
    chdir(&root).unwrap();
    mounted(root.to_str().unwrap(), "/", "", MsFlags::MS_MOVE, "");
    chroot(".").unwrap();
    chdir("/").unwrap();
}

/// Start process 1 of a new PID namespace. The next child of this thread is that
/// process, and later children are in the namespace too.
fn boot(console: &File) -> System {
    unshare(CloneFlags::CLONE_NEWPID).unwrap();
    // Process 1 mounts /proc, since only a process of the namespace can.
    let script = "mount -t proc proc /proc; \
                  echo 0 > /sys/fs/cgroup/cgroup.procs; \
                  exec /lib/systemd/systemd --system --unit=basic.target";
    let process_1 = Command::new("/bin/sh")
        .args(["-c", script])
        .env_clear()
        .env("container", "test")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(console.try_clone().unwrap())
        .stderr(console.try_clone().unwrap())
        .spawn()
        .unwrap();
    System { process_1 }
}

/// Run a command to its end, at most for [`LIMIT`].
fn output(command: &mut Command) -> Output {
    command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin");
    command.env("HOME", "/root").current_dir("/");
    // Files, since a thread with a PID namespace for its children cannot start
    // threads that read pipes.
    let mut files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    let [out, err] = files.each_ref().map(|file| file.try_clone().unwrap());
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command.spawn().unwrap();
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > end => {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let [out, err] = files.each_mut().map(|file| {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    });
    Output { code, out, err }
}

/// Remove a cgroup and all below it.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            remove_groups(&entry.path());
        }
    }
    let end = Instant::now() + Duration::from_secs(10);
    while let Err(error) = fs::remove_dir(group) {
        assert!(Instant::now() < end, "rmdir(2) {}: {error}", group.display());
        thread::sleep(Duration::from_millis(10));
    }
}
