//! `cargo xtask bench images`: the cost of a pull, in comparison with podman and
//! skopeo, and the cost of many layers at a start.
//!
//! The registry is the distribution's `docker-registry`, on a port of 127.0.0.1.

mod others;
mod registry;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::state::remove_tree;
use common::step::Step;

use super::life::images::{Random, program};
use super::life::{
    Aim, BenchDirs, Line, Measure, block_signals, figures, go_on, in_turn, table,
};
use super::record::Record;
use others::{Podman, Skopeo, Storage};
use registry::Registry;
use xtask::build::build_release;
use xtask::checkout::target;
use xtask::command::must;

/// The targets: ratios to the times of other programs, ms, and MiB.
const PODMAN: f64 = 0.8;
const SKOPEO: f64 = 1.2;
const AGAIN: f64 = 50.0;
const MEMORY: f64 = 64.0;
const TEN: f64 = 1.05;

/// The image: the number of layers, of files in each layer, and of bytes in each
/// file; together 250 MB.
const LAYERS: usize = 6;
const FILES: usize = 2320;
const EACH: usize = 18_000;

/// The image with one large layer: its number of files of 1 MiB.
const LARGE: usize = 500;

/// The minimum number of starts.
const STARTS: u32 = 30;

/// Run the benchmark.
///
/// # Errors
/// The user is not root; docker-registry is not installed; a command fails. A missed
/// target is not an error.
pub(super) fn images(runs: u32, state: Option<PathBuf>) -> Result<Record> {
    if !common::rights::privileged() {
        bail!("the owners in a layer, and overlays, are root's: run it with sudo");
    }
    let release = build_release(&["--package", "ch07-pull"])?;
    block_signals()?;
    let parent = state.unwrap_or_else(|| target().join("bench"));
    let parent = std::path::absolute(parent).context("--state")?.join("images");
    fs::create_dir_all(&parent).step(|| format!("mkdir(2) {}", parent.display()))?;
    let place = BenchDirs::new(&release.join("ch07-pull"), &parent, runs)?;
    let registry = Registry::start(&place.path("registry"))?;
    let bench = Bench { place, registry, runs, made: Cell::new(0) };
    let six = bench.six()?;
    let large = bench.large()?;
    let mut lines = bench.pulls(&six)?;
    lines.extend(bench.again(&six)?);
    lines.extend(bench.memory(&six, &large)?);
    lines.extend(bench.starts()?);
    println!("\nmedians of {runs} rounds, ms where nothing else is said");
    println!("ours / theirs: the median of the rounds' ratios");
    print!("{}", table(&lines));
    let title = "pull, and starts from many layers".to_owned();
    Ok(Record::new("images", title, "ms", &parent, figures(&lines)))
}

struct Bench {
    place: BenchDirs,
    registry: Registry,
    runs: u32,
    /// The number of new directories.
    made: Cell<u32>,
}

impl Bench {
    fn must(&self, words: &[&str]) -> Result<()> {
        go_on()?;
        must(&mut self.place.ours(words))
    }

    /// Push a local image. Returns its name in the registry.
    fn push(&self, image: &str) -> Result<String> {
        let name = self.registry.image(image);
        self.must(&["tag", image, &name])?;
        self.must(&["push", &name])?;
        Ok(name)
    }

    /// Create the image with six layers, and push it. Returns its name in the
    /// registry.
    fn six(&self) -> Result<String> {
        let tree = self.place.path("tree");
        let mut random = Random(3);
        for layer in 0..LAYERS {
            let name = format!("six-{layer}");
            remove_tree(&tree)?;
            files(&tree.join(format!("usr/{layer}")), &mut random)?;
            if layer == 0 {
                program(&self.place, &tree)?;
                self.must(&["import", &shown(&tree), &name])?;
                continue;
            }
            let volume = format!("{}:/in:ro", shown(&tree));
            let below = format!("six-{}", layer - 1);
            let from = format!("/in/usr/{layer}");
            let copy = ["/bin/busybox", "cp", "-r", &from, "/usr"];
            let run = ["run", "--name", "six", "-v", &volume, &below];
            self.must(&[&run[..], &copy].concat())?;
            self.must(&["commit", "six", &name])?;
            self.must(&["rm", "six"])?;
        }
        remove_tree(&tree)?;
        self.push(&format!("six-{}", LAYERS - 1))
    }

    /// Create the image with one large layer, and push it. Returns its name in the
    /// registry.
    fn large(&self) -> Result<String> {
        let tree = self.place.path("tree");
        fs::create_dir_all(&tree).step(|| "mkdir(2)")?;
        let mut random = Random(4);
        for number in 0..LARGE {
            let bytes = random.bytes(1 << 20);
            fs::write(tree.join(number.to_string()), bytes).step(|| "write(2)")?;
        }
        self.must(&["import", &shown(&tree), "large"])?;
        remove_tree(&tree)?;
        let name = self.push("large")?;
        self.must(&["rmi", "large", &name])?;
        Ok(name)
    }

    /// A new directory. No directory is removed before the end: ext4 without a
    /// journal skips inodes that were freed in the last minute, which would slow
    /// down the next contestant.
    fn fresh(&self) -> PathBuf {
        let number = self.made.get() + 1;
        self.made.set(number);
        self.place.path(&format!("fresh-{number}"))
    }

    /// The command that pulls an image into this state directory.
    fn pull(&self, name: &str, state: &Path) -> Command {
        let mut command = self.place.ours(&["pull", "-q", name]);
        command.env("MYDOCKER_ROOT", state);
        command
    }

    fn pulls(&self, name: &str) -> Result<Vec<Line>> {
        let podman = Podman::find();
        let skopeo = Skopeo::find();
        let ours: Measure = Box::new(|| {
            let state = self.fresh();
            timed(|| must(&mut self.pull(name, &state)))
        });
        let mut contestants = vec![("pull".to_owned(), Aim::None, ours)];
        if let Some(podman) = &podman {
            let theirs: Measure = Box::new(|| {
                let storage = Storage::new(self.fresh())?;
                timed(|| must(&mut podman.pull(name, &storage)))
            });
            contestants.push(("podman pull".into(), Aim::Ratio(PODMAN), theirs));
        }
        if let Some(skopeo) = &skopeo {
            let theirs: Measure = Box::new(|| {
                let directory = self.fresh();
                timed(|| skopeo.copy_and_unpack(name, &directory))
            });
            let what = "skopeo copy to dir:, and tar -xzf".to_owned();
            contestants.push((what, Aim::Ratio(SKOPEO), theirs));
        }
        in_turn(self.runs, "pull of 250 MB in six layers", contestants)
    }

    fn again(&self, name: &str) -> Result<Vec<Line>> {
        let state = self.fresh();
        let again: Measure =
            Box::new(|| timed(|| must(&mut self.pull(name, &state))));
        let contestants = vec![("pull".to_owned(), Aim::Below(AGAIN), again)];
        in_turn(
            self.runs.max(10),
            "pull of an image that is up to date",
            contestants,
        )
    }

    fn memory(&self, six: &str, large: &str) -> Result<Vec<Line>> {
        let of = |name: &str| -> Measure {
            let name = name.to_owned();
            Box::new(move || peak(&mut self.pull(&name, &self.fresh())))
        };
        let aim = Aim::Below(MEMORY);
        let contestants = vec![
            ("six layers of 42 MB".to_owned(), aim, of(six)),
            ("one layer of 520 MB".to_owned(), aim, of(large)),
        ];
        let mut lines =
            in_turn(self.runs.min(3), "peak memory of a pull", contestants)?;
        lines.iter_mut().for_each(|line| line.unit = Some("MiB"));
        Ok(lines)
    }

    /// Compare starts of two images with the same files: one has ten layers, the
    /// other has one layer.
    fn starts(&self) -> Result<Vec<Line>> {
        let tar = shown(&self.place.path("flat.tar"));
        // `export` keeps the empty files of a container's mounts in /etc, which
        // `commit` leaves out. Without these files, each start would have to create
        // them. Therefore both images contain them.
        let flatten = |name: &str| {
            self.must(&["export", "-o", &tar, "ten"])?;
            self.must(&["import", &tar, name])
        };
        self.must(&["run", "--name", "ten", "busybox", "true"])?;
        flatten("first")?;
        self.must(&["rm", "ten"])?;
        let mut below = "first".to_owned();
        for layer in 2..=10 {
            let name = format!("layers-{layer}");
            let script = format!("echo {layer} > /file-{layer}");
            self.must(&["run", "--name", "ten", &below, "sh", "-c", &script])?;
            self.must(&["commit", "ten", &name])?;
            if layer == 10 {
                flatten("layers-1")?;
            }
            self.must(&["rm", "ten"])?;
            below = name;
        }
        let of = |image: &'static str| -> Measure {
            Box::new(move || {
                let words = ["run", "--rm", image, "/bin/busybox", "true"];
                let mut run = self.place.ours(&words);
                go_on()?;
                let begun = Instant::now();
                must(&mut run)?;
                Ok(begun.elapsed().as_secs_f64() * 1e3)
            })
        };
        let contestants = vec![
            ("ten layers".to_owned(), Aim::None, of("layers-10")),
            ("one layer".to_owned(), Aim::Ratio(TEN), of("layers-1")),
        ];
        in_turn(self.runs.max(STARTS), "run --rm, of an image of", contestants)
    }
}

/// The time that `work` takes, in ms. Earlier writes are synced first, so that they
/// do not happen during the work.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    go_on()?;
    nix::unistd::sync();
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// The peak memory of a command, in MiB.
///
/// # Source
/// proc_pid_status(5), "VmHWM"
fn peak(command: &mut Command) -> Result<f64> {
    go_on()?;
    let mut child = command.stdin(Stdio::null()).spawn().context("pull")?;
    let path = format!("/proc/{}/status", child.id());
    let mut peak: f64 = 0.0;
    loop {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        peak = peak.max(kib.and_then(|kib| kib.parse().ok()).unwrap_or(0.0));
        if let Some(status) = child.try_wait().step(|| "waitpid(2)")? {
            ensure!(status.success(), "pull: {status}");
            ensure!(peak > 0.0, "{path} was never read");
            return Ok(peak / 1024.0);
        }
        sleep(Duration::from_millis(2));
    }
}

/// Write files that are as compressible as programs.
fn files(directory: &Path, random: &mut Random) -> Result<()> {
    for number in 0..FILES {
        let directory = directory.join((number / 100).to_string());
        if number % 100 == 0 {
            fs::create_dir_all(&directory).step(|| "mkdir(2)")?;
        }
        let bytes = random.half_text(EACH);
        let path = directory.join(number.to_string());
        fs::write(&path, bytes).step(|| format!("write(2) {}", path.display()))?;
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
