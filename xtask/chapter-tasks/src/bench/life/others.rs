//! Other programs with detached containers: crun, runc and podman.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ch02_cgroups::Layout;
use common::PATH;
use common::step::{Step, report, warn};
use provision::command;
use serde_json::json;

use crate::bench::peers::{Work, config};
use crate::bench::private_mounts::PrivateMounts;
use xtask::install::on_path;

/// A time limit that is reached only after a failure.
const TIMEOUT: Duration = Duration::from_secs(60);

/// podman's settings, and the parent cgroup of its containers.
const CONF: &str = "containers.conf";
pub(in crate::bench) const PARENT: &str = "mydocker-bench";

/// Limits for podman: its default limits may exceed those of this process.
pub(in crate::bench) const LIMITS: [&str; 4] =
    ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];

/// A program with its own state directory. Its containers are removed on drop.
pub(super) struct Other<'a> {
    pub(super) name: &'static str,
    program: PathBuf,
    state: PathBuf,
    /// The options that select its state directory.
    global: Vec<String>,
    /// The arguments of `run`, before and after the name.
    run: [Vec<String>; 2],
    list: &'static [&'static str],
    remove: &'static [&'static str],
    apart: Option<&'a PrivateMounts>,
}

/// All programs that are installed and work here. For each other program, the reason
/// is printed.
pub(super) fn all<'a>(
    work: &Work,
    program: &[&str],
    apart: Option<&'a PrivateMounts>,
) -> Result<Vec<Other<'a>>> {
    let mut found = Vec::new();
    for name in ["crun", "runc", "podman"] {
        let Some(path) = on_path(name) else {
            println!("{name}: not installed");
            continue;
        };
        let other = Other::new(name, path, work, program, apart)?;
        // Remove the containers of a benchmark that was killed.
        other.sweep();
        match other.within(|| other.start("try").and_then(|()| other.remove("try")))
        {
            Ok(()) => found.push(other),
            Err(error) => {
                println!("{name}: cannot be measured: {}", report(&error))
            }
        }
    }
    Ok(found)
}

impl<'a> Other<'a> {
    fn new(
        name: &'static str,
        path: PathBuf,
        work: &Work,
        program: &[&str],
        apart: Option<&'a PrivateMounts>,
    ) -> Result<Other<'a>> {
        let state = work.run.join(name);
        fs::create_dir_all(&state)
            .step(|| format!("mkdir(2) {}", state.display()))?;
        let owned = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect();
        let shown = |path: &Path| path.display().to_string();
        let (global, run, list, remove) = if name == "podman" {
            let root = ["--root", &shown(&state.join("root"))];
            let run = ["--runroot", &shown(&state.join("run"))];
            // By default, these files are in /run and /dev/shm, and remain there.
            let tmp = ["--tmpdir", &shown(&state.join("tmp"))];
            let file = state.join(CONF);
            fs::write(&file, "[engine]\nlock_type = \"file\"\n")
                .step(|| format!("write(2) {}", file.display()))?;
            // The containers of the other programs have an empty network namespace.
            let group = ["-m", "100m", "--cpu-shares", "512", "--cpuset-cpus", "0"];
            let volume = format!("{}:/v", shown(&work.volume));
            let parent = format!("/{PARENT}");
            let group = [&group[..], &["--cgroup-parent", &parent]].concat();
            let rest = ["-v", &volume, "--network", "none", "--rootfs"];
            let rest = [&LIMITS[..], &group, &rest, &[&shown(&work.root)], program];
            (
                owned(&[root, run, tmp].concat()),
                [owned(&["run", "-d", "--name"]), owned(&rest.concat())],
                &["ps", "-aq"][..],
                &["rm", "-f", "-t", "0"][..],
            )
        } else {
            let bundle = state.join("bundle");
            fs::create_dir_all(&bundle)
                .step(|| format!("mkdir(2) {}", bundle.display()))?;
            let file = bundle.join("config.json");
            let mut config = config(&work.root, &work.volume);
            config["process"]["args"] = json!(program);
            fs::write(&file, config.to_string())
                .step(|| format!("write(2) {}", file.display()))?;
            (
                owned(&["--root", &shown(&state.join("state"))]),
                [owned(&["run", "-d", "--bundle", &shown(&bundle)]), Vec::new()],
                &["list", "-q"][..],
                &["delete", "-f"][..],
            )
        };
        Ok(Other { name, program: path, state, global, run, list, remove, apart })
    }

    /// The command with these arguments.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.global).args(words).env_clear().env("PATH", PATH);
        command.env("CONTAINERS_CONF", self.state.join(CONF));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Run `work` in the mount namespace that the program needs.
    pub(super) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        match self.apart {
            Some(apart) => apart.within(work),
            None => work(),
        }
    }

    /// The command that starts a container with this name.
    pub(super) fn starting(&self, name: &str) -> Command {
        let mut command = self.command(&[]);
        let [before, after] = &self.run;
        command.args(before).arg(name).args(after);
        command
    }

    /// Start a container; call it only inside [`Other::within`].
    pub(super) fn start(&self, name: &str) -> Result<()> {
        command::run(&mut self.starting(name), TIMEOUT).map(drop)
    }

    /// Remove a container in any state; call it only inside [`Other::within`].
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        command::run(self.command(self.remove).arg(name), TIMEOUT).map(drop)
    }

    /// The names of all its containers.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let output = self.within(|| {
            let mut list = self.command(self.list);
            list.stdout(Stdio::piped()).output().context(self.name)
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Remove all its containers.
    pub(super) fn sweep(&self) {
        let names = self.names().unwrap_or_default();
        let _ = self.within(|| {
            for name in &names {
                // If this fails, the next benchmark removes it.
                let _ = self.remove(name);
            }
            Ok(())
        });
        remove_groups();
    }
}

/// The time limit for podman's monitor to end after `podman run` has returned.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(10);

/// Remove the parent cgroup of podman's containers, and the cgroup of the monitors
/// in it, because podman removes neither. A monitor that is still ending keeps its
/// cgroup busy.
pub(in crate::bench) fn remove_groups() {
    let deadline = Instant::now() + MONITOR_TIMEOUT;
    for hierarchy in Layout::find().map_or(Vec::new(), |it| it.hierarchies) {
        let group = hierarchy.mount.join(PARENT);
        for group in [group.join("conmon"), group] {
            while let Err(error) = fs::remove_dir(&group) {
                if error.kind() != ErrorKind::ResourceBusy
                    || Instant::now() > deadline
                {
                    if error.kind() != ErrorKind::NotFound {
                        warn(&format!("rmdir(2) {}: {error}", group.display()));
                    }
                    break;
                }
                sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for Other<'_> {
    fn drop(&mut self) {
        self.sweep();
    }
}
