//! `pair`: two network namespaces and a cable between them.

use std::env::split_paths;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::state::State;
use common::step::Step;
use common::{PATH, Part, Plan, Up, null};
use nix::sched::{CloneFlags, setns, unshare};
use provision::busybox;

use crate::route::{Place, Route};

/// The one end: the program's.
const LEFT: (&str, Ipv4Addr) = ("veth0", Ipv4Addr::new(172, 18, 0, 11));
/// The other end.
const RIGHT: (&str, Ipv4Addr) = ("veth1", Ipv4Addr::new(172, 18, 0, 12));
/// 172.18.0.0 is the network of both.
const PREFIX: u8 = 24;

/// The network namespace of the program, left, gets a neighbour, right, and a veth
/// pair between the two. It comes after the walls of PID, mounts and network: all of
/// it ends with the program, which is number 1.
#[derive(Debug)]
pub struct Pair {
    /// Whether the program is to be a ping.
    pings: bool,
    /// ping(8), as the first words of a command line; empty without `pings`.
    ping: Vec<OsString>,
}

impl Pair {
    /// The pair around the program; or, with `pings`, around a ping from either side
    /// to the other.
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
    fn enter(&self, plan: &Plan, _up: &Up) -> Result<()> {
        let left = own_namespace()?;
        let in_left = Route::open()?;
        // From here on this process is in right, and so is what it starts. The
        // socket above stays in left.
        unshare(CloneFlags::CLONE_NEWNET).step(|| "unshare(2) CLONE_NEWNET")?;
        let right = own_namespace()?;
        let in_right = Route::open()?;
        let keeper = keep(plan)?;
        say(&format_args!(
            "two network namespaces: left, and right with process {keeper} in it"
        ));
        in_left.add_veth(LEFT.0, RIGHT.0)?;
        say(&format_args!("a veth pair: {} and {}, both in left", LEFT.0, RIGHT.0));
        in_left.move_to(RIGHT.0, Place::Namespace(right.as_fd()))?;
        say(&format_args!("{} moved to right, and is gone from left", RIGHT.0));
        for (side, route, (device, address)) in
            [("left", &in_left, LEFT), ("right", &in_right, RIGHT)]
        {
            route.set_up("lo")?;
            route.add_address(device, address, PREFIX)?;
            route.set_up(device)?;
            say(&format_args!("{side}: {device} has {address}/{PREFIX}, and is up"));
        }
        if self.pings {
            say(&"right pings left:");
            self.ping_left(plan)?;
            say(&"left pings right:");
        }
        setns(left, CloneFlags::CLONE_NEWNET).step(|| "setns(2) left")
    }
    // ANCHOR_END: enter
}

impl Pair {
    /// While this process is in right.
    fn ping_left(&self, plan: &Plan) -> Result<()> {
        let words = aimed(&self.ping, LEFT.1);
        let (name, arguments) = words.split_first().context("no ping")?;
        let status = Command::new(name)
            .args(arguments)
            .env_clear()
            .envs(&plan.environment)
            .status()
            .step(|| format!("execve(2) {}", name.display()))?;
        ensure!(status.success(), "right got no answer from left: ping, {status}");
        Ok(())
    }
}

/// The network namespace in which this process is now: the open file keeps it alive,
/// and says which one is meant.
fn own_namespace() -> Result<File> {
    let path = "/proc/self/ns/net";
    File::open(path).look(|| format!("open(2) {path}"))
}

/// A process that stays in this process' network namespace, for who wants to enter
/// it; its number. Nobody has to end it: it goes with the PID namespace.
#[allow(clippy::zombie_processes, reason = "its parent becomes the program")]
fn keep(plan: &Plan) -> Result<u32> {
    // Not "infinity", which not every busybox knows: 68 years.
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

/// ping(8) of the host; else that of the course's busybox.
fn find_ping(state: &State) -> Result<Vec<OsString>> {
    let mut paths = split_paths(PATH).map(|directory| directory.join("ping"));
    if let Some(path) = paths.find(|path| path.is_file()) {
        return Ok(vec![path.into()]);
    }
    let layers = busybox::image(state)?.directories(state);
    let mut paths = layers.iter().map(|layer| layer.join("bin/busybox"));
    let path = paths.find(|path| path.is_file());
    let path = path.context("no ping on PATH, and none in the busybox image")?;
    Ok(vec![path.into(), "ping".into()])
}

/// One ping to this address.
fn aimed(ping: &[OsString], address: Ipv4Addr) -> Vec<OsString> {
    let arguments = ["-c".into(), "1".into(), address.to_string().into()];
    ping.iter().cloned().chain(arguments).collect()
}

/// A line for the reader; a closed stderr is no reason to stop.
fn say(line: &dyn Display) {
    // In one piece: --trace writes there too, from the other side.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
