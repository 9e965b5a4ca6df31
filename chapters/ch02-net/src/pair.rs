//! `pair`: two network namespaces, connected by a veth pair.

use std::env::split_paths;
use std::ffi::OsString;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::state::State;
use common::step::{Step, note};
use common::{PATH, ParentLink, Part, Plan, null};
use nix::sched::{CloneFlags, setns, unshare};
use provision::busybox;

use crate::route::{Route, TargetNamespace};

/// The end of the pair in the program's namespace.
const LEFT: (&str, Ipv4Addr) = ("veth0", Ipv4Addr::new(172, 18, 0, 11));
/// The other end.
const RIGHT: (&str, Ipv4Addr) = ("veth1", Ipv4Addr::new(172, 18, 0, 12));
/// The prefix length. Both addresses are in the network 172.18.0.0.
const PREFIX: u8 = 24;

/// The part that creates a second network namespace, "right", and connects it to the
/// program's namespace, "left", by a veth pair. This part comes after the PID, mount
/// and network namespaces, so that everything ends with the program, which is PID 1.
#[derive(Debug)]
pub struct Pair {
    /// Whether the program is a ping.
    pings: bool,
    /// The first words of a command line that runs ping(8). Empty if `pings` is
    /// false.
    ping: Vec<OsString>,
}

impl Pair {
    /// Create the part. With `pings`, each side pings the other, instead of running
    /// the caller's program.
    #[must_use]
    pub fn new(pings: bool) -> Pair {
        Pair { pings, ping: Vec::new() }
    }
}

impl Part for Pair {
    fn name(&self) -> &'static str {
        "pair"
    }

    fn prepare(&mut self, plan: &mut Plan) -> Result<()> {
        if self.pings {
            self.ping = find_ping(&plan.home.state)?;
            plan.command = aimed(&self.ping, RIGHT.1);
        }
        Ok(())
    }

    // ANCHOR: enter
    fn enter(&self, plan: &Plan, _link: &ParentLink) -> Result<()> {
        let left = own_namespace()?;
        let in_left = Route::open()?;
        // From here on this process and its children are in right. The socket above
        // stays in left.
        unshare(CloneFlags::CLONE_NEWNET).step(|| "unshare(2) CLONE_NEWNET")?;
        let right = own_namespace()?;
        let in_right = Route::open()?;
        let keeper = keep_namespace(plan)?;
        note(&format!(
            "two network namespaces: left, and right with process {keeper} in it"
        ));
        in_left.add_veth(LEFT.0, RIGHT.0)?;
        note(&format!("a veth pair: {} and {}, both in left", LEFT.0, RIGHT.0));
        in_left.move_to(RIGHT.0, TargetNamespace::Namespace(right.as_fd()))?;
        note(&format!("{} moved to right, and is gone from left", RIGHT.0));
        for (side, route, (device, address)) in
            [("left", &in_left, LEFT), ("right", &in_right, RIGHT)]
        {
            route.set_up("lo")?;
            route.add_address(device, address, PREFIX)?;
            route.set_up(device)?;
            note(&format!("{side}: {device} has {address}/{PREFIX}, and is up"));
        }
        if self.pings {
            note("right pings left:");
            self.ping_left(plan)?;
            note("left pings right:");
        }
        setns(left, CloneFlags::CLONE_NEWNET).step(|| "setns(2) left")
    }
    // ANCHOR_END: enter
}

impl Pair {
    /// Ping left. This process must be in right.
    fn ping_left(&self, plan: &Plan) -> Result<()> {
        let words = aimed(&self.ping, LEFT.1);
        let (name, arguments) = words.split_first().context("no ping")?;
        let ping = Command::new(name)
            .args(arguments)
            .env_clear()
            .envs(&plan.environment)
            .output()
            .step(|| format!("execve(2) {}", name.display()))?;
        // As a note, the output stands at its place among the lines of --trace.
        note(
            String::from_utf8_lossy(&[ping.stdout, ping.stderr].concat()).trim_end(),
        );
        ensure!(
            ping.status.success(),
            "ping from right to left failed: {}",
            ping.status
        );
        Ok(())
    }
}

/// The current network namespace of this process. The open file identifies the
/// namespace and keeps it alive.
fn own_namespace() -> Result<File> {
    let path = "/proc/self/ns/net";
    File::open(path).untraced(|| format!("open(2) {path}"))
}

/// Start a process that stays in this process's network namespace, so that the
/// reader can enter the namespace. Returns its PID. The kernel kills this process
/// together with the PID namespace.
#[allow(clippy::zombie_processes, reason = "its parent becomes the program")]
fn keep_namespace(plan: &Plan) -> Result<u32> {
    // 68 years. Not every busybox knows "infinity".
    let keeper = Command::new("sleep")
        .arg(i32::MAX.to_string())
        .env_clear()
        .envs(&plan.environment)
        .stdin(null()?)
        .stdout(null()?)
        .stderr(null()?)
        .spawn()
        .step(|| "fork(2) and execve(2) of sleep")?;
    Ok(keeper.id())
}

/// Find ping(8): on the host, otherwise in the busybox image of the course.
fn find_ping(state: &State) -> Result<Vec<OsString>> {
    let mut paths = split_paths(PATH).map(|directory| directory.join("ping"));
    if let Some(path) = paths.find(|path| path.is_file()) {
        return Ok(vec![path.into()]);
    }
    let layers = busybox::image(state)?.directories(state);
    let mut paths = layers.iter().map(|layer| layer.join("bin/busybox"));
    let path = paths.find(|path| path.is_file());
    let path = path.context("ping was not found on PATH or in the busybox image")?;
    Ok(vec![path.into(), "ping".into()])
}

/// The command line for one ping to this address.
fn aimed(ping: &[OsString], address: Ipv4Addr) -> Vec<OsString> {
    let arguments = ["-c".into(), "1".into(), address.to_string().into()];
    ping.iter().cloned().chain(arguments).collect()
}
