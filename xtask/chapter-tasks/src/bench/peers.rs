//! Find and install other container runtimes, and run them with the same work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::step::Step;
use common::{PATH, rights};
use serde_json::{Value, json};

use super::aim::Aim;
use super::private_mounts::PrivateMounts;
use xtask::install::{Installer, Package, on_path};

/// A program that starts containers and is measured.
pub(super) struct Contender<'a> {
    pub(super) name: &'static str,
    program: PathBuf,
    words: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    apart: Option<&'a PrivateMounts>,
}

impl<'a> Contender<'a> {
    /// This program with these arguments.
    pub(super) fn new(
        name: &'static str,
        program: PathBuf,
        words: &[&str],
        environment: Vec<(&'static str, PathBuf)>,
    ) -> Contender<'a> {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Contender { name, program, words, environment, apart: None }
    }

    /// The command.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.words).stdin(Stdio::null());
        // All programs get the same PATH, because they search `true` in it.
        command.env_clear().env("PATH", PATH);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Run `work` in the mount namespace that the program needs.
    ///
    /// # Errors
    /// The work fails.
    pub(super) fn within<T: Send>(
        &self,
        work: impl FnOnce(&mut Command) -> Result<T> + Send,
    ) -> Result<T> {
        match self.apart {
            Some(apart) => apart.within(|| work(&mut self.command())),
            None => work(&mut self.command()),
        }
    }
}

/// A program for comparison.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// `None` if no package manager has it.
    package: Option<Package>,
    /// The maximum of our time divided by its time, cold and hot.
    pub(super) aims: [Option<Aim>; 2],
}

/// All programs for comparison, in the order of the table.
pub(super) const PEERS: [Peer; 4] = [
    Peer {
        name: "crun",
        package: Some(Package::named("crun")),
        aims: [Some(Aim::of(0.3, 0.25)), Some(Aim::of(0.7, 0.6))],
    },
    Peer {
        name: "bwrap",
        package: Some(Package::named("bubblewrap")),
        aims: [Some(Aim::of(1.4, 1.1)); 2],
    },
    Peer { name: "runc", package: Some(Package::named("runc")), aims: [None, None] },
    Peer { name: "youki", package: None, aims: [None, None] },
];

/// The program that counts system calls.
const STRACE: &str = "strace";

impl Peer {
    /// The reason why it is not measured.
    pub(super) fn missing(&self) -> String {
        let name = self.name;
        match self.package {
            Some(_) => {
                format!(
                    "{name}: not installed; cargo xtask bench --install installs it"
                )
            }
            None => {
                format!("{name}: not installed; no distribution has a package of it")
            }
        }
    }

    /// The program with the same work as ours; `None` if it is not installed.
    /// `number` distinguishes instances that run at the same time.
    ///
    /// # Errors
    /// write(2) fails; the first run of the program fails.
    pub(super) fn contender<'a>(
        &self,
        work: &Work,
        apart: Option<&'a PrivateMounts>,
        number: u32,
    ) -> Result<Option<Contender<'a>>> {
        let Some(program) = on_path(self.name) else { return Ok(None) };
        let [root, volume, run] = [&work.root, &work.volume, &work.run]
            .map(|path| path.display().to_string());
        let contender = if self.name == "bwrap" {
            let words = ["--unshare-all", "--bind", &root, "/", "--proc", "/proc"];
            let more = ["--dev", "/dev", "--bind", &volume, "/v", "true"];
            let words = [&words[..], &more[..]].concat();
            Contender::new(self.name, program, &words, Vec::new())
        } else {
            fs::create_dir_all(&work.run)
                .step(|| format!("mkdir(2) {}", work.run.display()))?;
            let file = work.run.join("config.json");
            let text = config(&work.root, &work.volume).to_string();
            fs::write(&file, text)
                .step(|| format!("write(2) {}", file.display()))?;
            // Unique to this process: a killed one may have left a container.
            let name = format!("mydocker-bench-{}-{number}", id());
            let words = ["run", "--bundle", &run, &name];
            let own = Contender::new(self.name, program, &words, Vec::new());
            Contender { apart, ..own }
        };
        contender.within(|command| {
            provision::command::run(command, Duration::from_secs(30)).map(drop)
        })?;
        Ok(Some(contender))
    }
}

/// The work of all programs: run `true` in this root, with this volume.
pub(super) struct Work {
    /// A copy of busybox's files for the other programs, which create the volume's
    /// directory in it.
    pub(super) root: PathBuf,
    pub(super) volume: PathBuf,
    /// The files of the runtimes.
    pub(super) run: PathBuf,
}

/// The config.json of the OCI bundle: the equivalent of `-m 100m -cpushare 512
/// -cpuset 0` and a volume on /v, and of the mounts that our program makes by
/// default.
///
/// # Source
/// The OCI runtime specification, config.md and config-linux.md
pub(super) fn config(root: &Path, volume: &Path) -> Value {
    let mounted = |kind: &str, guest: &str, options: &[&str]| {
        let mount: [(&str, Value); 4] = [
            ("source", kind.into()),
            ("type", kind.into()),
            ("destination", guest.into()),
            ("options", options.into()),
        ];
        Value::from_iter(mount)
    };
    let hardened = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&hardened[..], more].concat();
    let dev = ["nosuid", "strictatime", "mode=755", "size=64k"];
    let pts = ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let pts = [&hardened[..2], &pts[..]].concat();
    let bytes = 100 << 20;
    let namespaces = ["pid", "network", "ipc", "uts", "mount"];
    let namespaces = namespaces.map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["true"],
            "env": [format!("PATH={PATH}"), "HOME=/root"],
            "cwd": "/",
        },
        "root": { "path": root },
        "hostname": "bench",
        "mounts": [
            mounted("proc", "/proc", &hardened),
            mounted("sysfs", "/sys", &with(&["ro"])),
            mounted("tmpfs", "/dev", &dev),
            mounted("devpts", "/dev/pts", &pts),
            mounted("tmpfs", "/dev/shm", &with(&["mode=1777", "size=64m"])),
            {
                "destination": "/v", "type": "bind", "source": volume,
                "options": ["rbind", "rw"],
            },
        ],
        "linux": {
            "namespaces": namespaces,
            "resources": {
                "memory": { "limit": bytes, "swap": bytes },
                "cpu": { "shares": 512, "cpus": "0" },
            },
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore",
                "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
                "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
                "/sys/devices/virtual/powercap", "/sys/firmware",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                "/proc/sysrq-trigger",
            ],
        },
    })
}

/// Install the missing programs that have a package, and strace.
///
/// # Errors
/// The user is not root, or there is no package manager: the command, or the names
/// of the packages. The package manager fails.
pub(super) fn install() -> Result<()> {
    let peers = PEERS.iter().filter_map(|peer| Some((peer.name, peer.package?)));
    let all = peers.chain([(STRACE, Package::named(STRACE))]);
    let missing: Vec<_> = all.filter(|(name, _)| on_path(name).is_none()).collect();
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let packages: Vec<Package> =
        missing.iter().map(|(_, package)| *package).collect();
    if missing.is_empty() {
        println!("everything that has a package is installed");
        return Ok(());
    }
    let names = names.join(", ");
    let installer = Installer::of(&packages)
        .with_context(|| format!("no package manager has {names}"))?;
    let line = installer.line();
    if !rights::privileged() {
        bail!("{names}: not installed; install them: sudo {line}");
    }
    println!("{line}");
    installer.run().with_context(|| format!("install {names} by: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_the_same_limits_as_the_flags() {
        let config = config(Path::new("/r"), Path::new("/host"));
        assert_eq!(config["root"]["path"], "/r");
        let resources = &config["linux"]["resources"];
        assert_eq!(resources["memory"]["limit"], 104_857_600);
        assert_eq!(resources["memory"]["swap"], 104_857_600);
        assert_eq!(resources["cpu"]["shares"], 512);
        assert_eq!(resources["cpu"]["cpus"], "0");
        let mounts = config["mounts"].as_array().unwrap();
        let volume = mounts.iter().find(|mount| mount["source"] == "/host").unwrap();
        assert_eq!(volume["destination"], "/v");
        let namespaces = config["linux"]["namespaces"].as_array().unwrap();
        assert_eq!(namespaces.len(), 5);
    }

    #[test]
    fn a_missing_runtime_is_named_with_the_command_that_installs_it() {
        let crun = "crun: not installed; cargo xtask bench --install installs it";
        assert_eq!(PEERS[0].missing(), crun);
        assert!(PEERS[3].missing().starts_with("youki: not installed; "));
    }
}
