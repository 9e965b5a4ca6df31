//! Who else makes containers: found, installed, and given the same work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::step::Step;
use common::{PATH, rights};
use serde_json::{Value, json};

use super::aim::Aim;
use super::apart::Apart;
use crate::install::{Installer, Package, on_path};

/// One who makes containers, and is timed.
pub(super) struct Contender<'a> {
    pub(super) name: &'static str,
    program: PathBuf,
    words: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    apart: Option<&'a Apart>,
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
        // What is searched for `true` is the same for all.
        command.env_clear().env("PATH", PATH);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Do something with the command, in the view of mounts that it is to have.
    ///
    /// # Errors
    /// The work's.
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

/// A program to compare with.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// `None` where no package manager has it.
    package: Option<Package>,
    /// Our time divided by its time, at most, cold and hot.
    pub(super) aims: [Option<Aim>; 2],
}

/// All of them, in the order of the table.
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

/// By it the system calls of ours and of the straight line are compared.
const STRACE: &str = "strace";

impl Peer {
    /// Why it is not measured, for the reader.
    pub(super) fn missing(&self) -> String {
        let name = self.name;
        match self.package {
            Some(_) => {
                format!("{name}: not installed; cargo xtask bench --install gets it")
            }
            None => {
                format!("{name}: not installed; it is on no distribution's list")
            }
        }
    }

    /// It, with the same work as ours; `None` when it is not installed. `number`
    /// tells apart those that run at the same time.
    ///
    /// # Errors
    /// Those of write(2); whatever the peer says to its first run.
    pub(super) fn contender<'a>(
        &self,
        work: &Work,
        apart: Option<&'a Apart>,
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
            // Of this process: one that was killed may have left its own.
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

/// What all of them are to do: run `true` in this root, with this volume.
pub(super) struct Work {
    /// busybox's files, a copy for the peers: they make the volume's directory.
    pub(super) root: PathBuf,
    pub(super) volume: PathBuf,
    /// The runtimes' own files.
    pub(super) run: PathBuf,
}

/// The OCI bundle's config.json: what `-m 100m -cpushare 512 -cpuset 0` and a volume
/// on /v are in its words, and the mounts that ours makes by itself.
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

/// Install the peers that are missing and can be had, and strace.
///
/// # Errors
/// Not root, or no package manager: the command, or the packages' names. What the
/// package manager says.
pub(super) fn install() -> Result<()> {
    let peers = PEERS.iter().filter_map(|peer| Some((peer.name, peer.package?)));
    let all = peers.chain([(STRACE, Package::named(STRACE))]);
    let missing: Vec<_> = all.filter(|(name, _)| on_path(name).is_none()).collect();
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let packages: Vec<Package> =
        missing.iter().map(|(_, package)| *package).collect();
    if missing.is_empty() {
        println!("all that a package manager has is installed");
        return Ok(());
    }
    let names = names.join(", ");
    let installer = Installer::of(&packages)
        .with_context(|| format!("no package manager here that has {names}"))?;
    let line = installer.line();
    if !rights::privileged() {
        bail!("{names}: not installed; this installs them: sudo {line}");
    }
    println!("{line}");
    installer.run().with_context(|| format!("install {names} by: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_says_the_same_as_the_flags() {
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
    fn a_peer_that_is_missing_is_named_with_what_gets_it() {
        let crun = "crun: not installed; cargo xtask bench --install gets it";
        assert_eq!(PEERS[0].missing(), crun);
        assert!(PEERS[3].missing().starts_with("youki: not installed; "));
    }
}
