//! Who else has containers in the background: crun, runc and podman.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use ch02_cgroups::Layout;
use common::PATH;
use common::step::{Step, report};
use provision::command;
use serde_json::json;

use crate::bench::apart::Apart;
use crate::bench::peers::{Work, config};
use crate::install::on_path;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// podman's settings, and the group that it puts its containers into.
const CONF: &str = "containers.conf";
const PARENT: &str = "mydocker-bench";

/// One of them, with a state directory of its own. What it has there goes with it.
pub(super) struct Other<'a> {
    pub(super) name: &'static str,
    program: PathBuf,
    state: PathBuf,
    /// Where its state is, as it wants to be told.
    global: Vec<String>,
    /// Between these two words goes a name.
    run: [Vec<String>; 2],
    list: &'static [&'static str],
    remove: &'static [&'static str],
    apart: Option<&'a Apart>,
}

/// All that are installed and do run something here; the others are named, with why.
pub(super) fn all<'a>(
    work: &Work,
    program: &[&str],
    apart: Option<&'a Apart>,
) -> Result<Vec<Other<'a>>> {
    let mut found = Vec::new();
    for name in ["crun", "runc", "podman"] {
        let Some(path) = on_path(name) else {
            println!("{name}: not installed");
            continue;
        };
        let other = Other::new(name, path, work, program, apart)?;
        // What a bench that was killed has left.
        other.sweep();
        match other.within(|| other.start("try").and_then(|()| other.remove("try")))
        {
            Ok(()) => found.push(other),
            Err(error) => {
                println!("{name}: it can't be measured: {}", report(&error))
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
        apart: Option<&'a Apart>,
    ) -> Result<Other<'a>> {
        let state = work.run.join(name);
        fs::create_dir_all(&state)
            .step(|| format!("mkdir(2) {}", state.display()))?;
        let owned = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect();
        let shown = |path: &Path| path.display().to_string();
        let (global, run, list, remove) = if name == "podman" {
            let root = ["--root", &shown(&state.join("root"))];
            let run = ["--runroot", &shown(&state.join("run"))];
            // Else they lie in /run and /dev/shm, and stay there.
            let tmp = ["--tmpdir", &shown(&state.join("tmp"))];
            let file = state.join(CONF);
            fs::write(&file, "[engine]\nlock_type = \"file\"\n")
                .step(|| format!("write(2) {}", file.display()))?;
            // Its own defaults are more than a process here may ask for; and a network
            // of its own is what the others have.
            let limits =
                ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];
            let group = ["-m", "100m", "--cpu-shares", "512", "--cpuset-cpus", "0"];
            let volume = format!("{}:/v", shown(&work.volume));
            let parent = format!("/{PARENT}");
            let group = [&group[..], &["--cgroup-parent", &parent]].concat();
            let rest = ["-v", &volume, "--network", "none", "--rootfs"];
            let rest = [&limits[..], &group, &rest, &[&shown(&work.root)], program];
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

    /// It, with these words.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.global).args(words).env_clear().env("PATH", PATH);
        command.env("CONTAINERS_CONF", self.state.join(CONF));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Do something in the view of mounts that it is to have.
    pub(super) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        match self.apart {
            Some(apart) => apart.within(work),
            None => work(),
        }
    }

    /// What starts a container of this name.
    pub(super) fn starting(&self, name: &str) -> Command {
        let mut command = self.command(&[]);
        let [before, after] = &self.run;
        command.args(before).arg(name).args(after);
        command
    }

    /// Start one; only within.
    pub(super) fn start(&self, name: &str) -> Result<()> {
        command::run(&mut self.starting(name), PATIENCE).map(drop)
    }

    /// Remove one, whatever it does; only within.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        command::run(self.command(self.remove).arg(name), PATIENCE).map(drop)
    }

    /// The names of all that it has.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let output = self.within(|| {
            let mut list = self.command(self.list);
            list.stdout(Stdio::piped()).output().context(self.name)
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Remove all that it has.
    pub(super) fn sweep(&self) {
        let names = self.names().unwrap_or_default();
        let _ = self.within(|| {
            for name in &names {
                // One that can't go now goes with the next bench.
                let _ = self.remove(name);
            }
            Ok(())
        });
        // Of podman the group above its containers stays, and its monitors' in that.
        for hierarchy in Layout::find().map_or(Vec::new(), |it| it.hierarchies) {
            let group = hierarchy.mount.join(PARENT);
            let _ = fs::remove_dir(group.join("conmon"));
            let _ = fs::remove_dir(group);
        }
    }
}

impl Drop for Other<'_> {
    fn drop(&mut self) {
        self.sweep();
    }
}
