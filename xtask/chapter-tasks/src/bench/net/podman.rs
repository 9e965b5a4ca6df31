//! A start with a network, in comparison with `podman run --network bridge`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use common::PATH;
use common::images::Image;
use common::state::State;
use common::step::{Step, report};
use provision::busybox;

use super::space::Space;
use super::{Aim, Host, Line, Measure, NAME, in_turn, until_ready};
use crate::bench::life::others::{LIMITS, PARENT, remove_groups};
use crate::bench::private_mounts::PrivateMounts;
use xtask::install::on_path;

/// The target: the maximum of our time divided by podman's time.
const RATIO: f64 = 0.1;

/// podman, with all its state in a directory of the benchmark.
struct Podman {
    program: PathBuf,
    state: PathBuf,
    /// The root filesystem of its containers.
    root: PathBuf,
    /// A separate host, because podman leaves firewall rules. On a shared host, each
    /// of our starts would have to check them.
    space: Space,
    mounts: PrivateMounts,
}

impl Drop for Podman {
    fn drop(&mut self) {
        remove_groups();
    }
}

/// The lines for podman; empty if it is not installed or cannot run a container
/// here.
pub(super) fn lines(host: &Host) -> Result<Vec<Line>> {
    let Some(program) = on_path("podman") else {
        println!("podman: not installed");
        return Ok(Vec::new());
    };
    let podman = Podman::new(program, host)?;
    if let Err(error) = podman.start() {
        println!("podman: it can't be measured: {}", report(&error));
        return Ok(Vec::new());
    }
    let theirs: Measure = Box::new(|| podman.start());
    let ours: Measure = Box::new(|| host.start(&["-net", NAME]));
    let contestants = vec![
        ("run -net".to_owned(), Aim::None, ours),
        ("podman run --network bridge".to_owned(), Aim::Ratio(RATIO), theirs),
    ];
    in_turn(host.runs, "start, beside podman", contestants)
}

impl Podman {
    fn new(program: PathBuf, host: &Host) -> Result<Podman> {
        let state = host.place.path("podman");
        fs::create_dir_all(&state)
            .step(|| format!("mkdir(2) {}", state.display()))?;
        // By default, locks are in /dev/shm and networks in /etc, and they would
        // remain there.
        let networks = state.join("networks");
        let conf = format!(
            "[engine]\nlock_type = \"file\"\n[network]\nnetwork_config_dir = {:?}\n",
            networks
        );
        let file = state.join("containers.conf");
        fs::write(&file, conf).step(|| format!("write(2) {}", file.display()))?;
        let images = State::at(host.place.path("podman-image"));
        let image: Image = busybox::image(&images)?;
        let root = image.directories(&images).into_iter().next();
        let root = root.context("no layer")?;
        let space = Space::new()?;
        space.within(|| ch06_network::sysctl::forward().map(drop))?;
        let mounts = match PrivateMounts::without_v2()? {
            Some(hybrid) => hybrid.within(PrivateMounts::with_empty_run)?,
            None => PrivateMounts::with_empty_run()?,
        };
        Ok(Podman { program, state, root, space, mounts })
    }

    /// The time until a container's program has printed a line, in ms.
    fn start(&self) -> Result<f64> {
        let mut run = self.run();
        self.space.within(|| self.mounts.within(|| until_ready(&mut run)))
    }

    fn run(&self) -> Command {
        let path = |name: &str| -> PathBuf { self.state.join(name) };
        let mut run = Command::new(&self.program);
        let places: [(&str, &Path); 3] = [
            ("--root", &path("root")),
            ("--runroot", &path("run")),
            ("--tmpdir", &path("tmp")),
        ];
        for (flag, place) in places {
            run.arg(flag).arg(place);
        }
        run.args(["run", "--rm", "--network", "bridge"]).args(LIMITS);
        run.args(["--cgroup-parent", &format!("/{PARENT}"), "--rootfs"]);
        run.arg(&self.root).args(["echo", "ready"]);
        run.env_clear().env("PATH", PATH);
        run.env("CONTAINERS_CONF", path("containers.conf"));
        run
    }
}
