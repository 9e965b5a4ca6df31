//! `info`: the containers and images, and the properties of the host that affect them.

use std::fs;

use anyhow::Result;
use ch02_cgroups::{Layout, Version};
use ch04_image::Store;
use ch05_ps::listed;
use ch06_network::Network;
use clap::Args;
use common::cli::step::{Step, report, warn};
use common::cli::table::size;
use common::cli::{Context, Execute};
use common::{Exit, output};
use nix::sys::statfs::statfs;
use nix::sys::utsname::uname;
use nix::unistd::geteuid;
use serde_json::Value;

/// Show the containers, images and settings of this host
#[derive(Args, Debug)]
pub struct Info {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Execute for Info {
    fn execute(self, context: &Context) -> Result<Exit> {
        let rows = rows(context)?;
        let text = match self.json {
            true => {
                let keys = rows.into_iter().map(|(name, value)| (key(name), value));
                let object: serde_json::Map<String, Value> = keys.collect();
                serde_json::to_string_pretty(&object)? + "\n"
            }
            false => rows.iter().map(|(name, value)| line(name, value)).collect(),
        };
        output::report(&text, Vec::new())
    }
}

/// "State directory" is `state_directory` in JSON.
fn key(name: &str) -> String {
    name.trim().to_lowercase().replace(' ', "_")
}

fn line(name: &str, value: &Value) -> String {
    match (name, value) {
        ("Memory", Value::Number(bytes)) => {
            format!("{name}: {}\n", size(bytes.as_u64().unwrap_or(0)))
        }
        (_, Value::String(text)) => format!("{name}: {text}\n"),
        (_, other) => format!("{name}: {other}\n"),
    }
}

fn rows(context: &Context) -> Result<Vec<(&'static str, Value)>> {
    let state = &context.state;
    let store = Store::open(state)?;
    let (containers, damaged) = listed(state, true)?;
    damaged.into_iter().for_each(|one| warn(&report(&one.warning())));
    let running = containers.iter().filter(|it| it.status.is_held()).count();
    let networks = Network::all(state)?;
    let kernel = uname().step(|| "uname(2)")?;
    let text = |word: &std::ffi::OsStr| Value::from(word.to_string_lossy());
    Ok(vec![
        ("Version", env!("CARGO_PKG_VERSION").into()),
        ("Containers", containers.len().into()),
        (" Running", running.into()),
        (" Ended", (containers.len() - running).into()),
        ("Images", store.images()?.len().into()),
        ("Networks", networks.len().into()),
        ("State directory", text(state.root().as_os_str())),
        ("Filesystem", filesystem(state.root())?),
        ("Cgroups", cgroups()),
        ("Kernel", text(kernel.release())),
        ("Architecture", text(kernel.machine())),
        (
            "CPUs",
            std::thread::available_parallelism()
                .step(|| "sched_getaffinity(2)")?
                .get()
                .into(),
        ),
        ("Memory", memory()?.into()),
        ("User", user()),
    ])
}

/// The filesystem that contains the state directory.
///
/// # Source
/// statfs(2), "f_type"
fn filesystem(path: &std::path::Path) -> Result<Value> {
    let about = statfs(path).step(|| format!("statfs(2) {}", path.display()))?;
    let number = about.filesystem_type().0;
    let known = [
        (0xef53, "ext4"),
        (0x0102_1994, "tmpfs"),
        (0x9123_683e, "btrfs"),
        (0x5846_5342, "xfs"),
        (0x794c_7630, "overlay"),
        (0x2fc1_2fc1, "zfs"),
        (0xf2f5_2010, "f2fs"),
    ];
    let name = known.iter().find(|(magic, _)| *magic == number);
    Ok(name
        .map_or_else(|| format!("{number:#x}"), |(_, name)| (*name).into())
        .into())
}

/// The versions of cgroups that are mounted.
fn cgroups() -> Value {
    let Ok(layout) = Layout::find() else { return "not mounted".into() };
    let has = |version| {
        layout
            .hierarchies
            .iter()
            .any(|it| it.version == version && !it.controllers.is_empty())
    };
    match (has(Version::V1), has(Version::V2)) {
        (true, false) => "v1",
        (false, true) => "v2",
        (true, true) => "v1 and v2",
        (false, false) => "no controllers",
    }
    .into()
}

/// The memory of the host, in bytes.
///
/// # Source
/// proc_meminfo(5), "MemTotal"
fn memory() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).step(|| format!("read(2) {path}"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number =
        total.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    Ok(number.unwrap_or(0) * 1024)
}

fn user() -> Value {
    match geteuid() {
        user if user.is_root() => "root".into(),
        user => format!("uid {user}, containers in a user namespace").into(),
    }
}
