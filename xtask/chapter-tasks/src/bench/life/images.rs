//! Images: commit, import and export, compared with copying and tar.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use common::state::State;
use common::state::remove_tree;
use common::step::Step;
use provision::busybox;

use super::{Aim, BenchDirs, Line, Measure, in_turn, time};
use xtask::command::must;

const MIB: usize = 1 << 20;

/// The number of files of 1 MiB in the large image.
const LARGE: usize = 200;

/// The number of files in the tar, and the size of each: 270 MB in total.
const FILES: usize = 15_000;
const EACH: usize = 18_000;

/// The maximum of a commit's time minus the time to copy the changes, in ms.
const MORE: f64 = 30.0;

/// The maximum of a commit's time divided by that of a small image.
const LARGE_AS_SMALL: f64 = 1.2;

/// The maximum ratios to tar's time: unpacking, unpacking with gzip, packing with
/// gzip.
const UNPACKING: f64 = 1.1;
const GUNZIP: f64 = 0.5;
const GZIP: f64 = 0.5;

/// The maximum excess of the size.
const SIZE: f64 = 0.03;

/// Commit 1 MiB on a large image and on a small one, and copy 1 MiB.
pub(super) fn commit(place: &BenchDirs) -> Result<Vec<Line>> {
    let tree = place.path("large");
    program(place, &tree)?;
    let mut random = Random(1);
    for number in 0..LARGE {
        write(&tree.join(number.to_string()), &random.bytes(MIB))?;
    }
    must(&mut place.ours(&["import", &shown(&tree), "large"]))?;
    remove_tree(&tree)?;
    let change = place.path("change");
    write(&change, &random.bytes(MIB))?;
    let volume = format!("{}:/change:ro", shown(&change));
    for (name, image) in [("on-large", "large"), ("on-small", "busybox")] {
        let words = ["run", "--name", name, "-v", &volume, image];
        let copy = ["/bin/busybox", "cp", "/change", "/changed"];
        must(&mut place.ours(&[&words[..], &copy].concat()))?;
    }
    let commit = |container: &'static str| -> Measure {
        Box::new(move || {
            let took = time(&mut place.ours(&["commit", container, "made"]))?;
            must(&mut place.ours(&["rmi", "made"]))?;
            Ok(took)
        })
    };
    let copied = place.path("copied");
    let copy: Measure = Box::new(|| {
        let start = Instant::now();
        fs::copy(&change, &copied).context("copy")?;
        let file = File::open(&copied).context("open(2)")?;
        file.sync_all().context("fsync(2)")?;
        let took = start.elapsed().as_secs_f64() * 1e3;
        fs::remove_file(&copied).context("unlink(2)")?;
        Ok(took)
    });
    let lines = in_turn(
        place.runs.max(10),
        "commit of 1 MiB",
        vec![
            ("on an image of 200 MiB".into(), Aim::None, commit("on-large")),
            (
                "on an image of 2 MiB".into(),
                Aim::Ratio(LARGE_AS_SMALL),
                commit("on-small"),
            ),
            ("copying 1 MiB, and fsync(2)".into(), Aim::More(MORE), copy),
        ],
    )?;
    must(&mut place.ours(&["rm", "on-large", "on-small"]))?;
    must(&mut place.ours(&["rmi", "large"]))?;
    Ok(lines)
}

/// Import a tar and export it, and let tar(1) do the same.
pub(super) fn tars(place: &BenchDirs) -> Result<Vec<Line>> {
    let tree = place.path("tree");
    program(place, &tree)?;
    files(&tree)?;
    let [plain, packed] = ["tree.tar", "tree.tar.gz"].map(|name| place.path(name));
    must(tar("-cf", &plain).arg("-C").arg(&tree).arg("."))?;
    let size = plain.metadata().context("stat(2)")?.len();
    if size < (FILES * EACH) as u64 {
        bail!("the tar has only {size} bytes");
    }
    must(tar("-czf", &packed).arg("-C").arg(&tree).arg("."))?;
    let mut lines = import(place, "import of a tar", &plain, "-xf", UNPACKING)?;
    // In memory, so that the disk does not limit it.
    let memory = BenchDirs::new(&place.program, Path::new("/dev/shm"), place.runs)?;
    let group = "import of a tar.gz, in memory";
    lines.extend(import(&memory, group, &packed, "-xzf", GUNZIP)?);
    drop(memory);

    must(&mut place.ours(&["import", &shown(&plain), "tree"]))?;
    let words = ["run", "--name", "packed", "tree", "/bin/busybox", "true"];
    must(&mut place.ours(&words))?;
    let [own, theirs] = ["own.tar.gz", "theirs.tar.gz"].map(|name| place.path(name));
    let export: Measure = Box::new(|| {
        time(&mut place.ours(&["export", "-o", &shown(&own), "packed"]))
    });
    let pack: Measure =
        Box::new(|| time(tar("-czf", &theirs).arg("-C").arg(&tree).arg(".")));
    lines.extend(in_turn(
        place.runs,
        "export as tar.gz",
        vec![
            ("export -o".into(), Aim::None, export),
            ("tar -czf".into(), Aim::Ratio(GZIP), pack),
        ],
    )?);
    let bytes = |path: &Path| path.metadata().map(|about| about.len() as f64);
    let off =
        bytes(&own).context("stat(2)")? / bytes(&theirs).context("stat(2)")? - 1.0;
    let word = if off <= SIZE { "met" } else { "not" };
    println!(
        "size of the export: {:+.1} per cent compared with tar (aim <= {:+.1}, {word})",
        off * 100.0,
        SIZE * 100.0
    );
    Ok(lines)
}

/// Import a tar, and unpack it by tar(1): once without and once with syncfs(2),
/// which an import does too.
fn import(
    place: &BenchDirs,
    group: &'static str,
    packed: &Path,
    flags: &'static str,
    aim: f64,
) -> Result<Vec<Line>> {
    let to = place.path("unpacked");
    let ours: Measure = Box::new(|| {
        let took = time(&mut place.ours(&["import", &shown(packed), "imported"]))?;
        must(&mut place.ours(&["rmi", "imported"]))?;
        Ok(took)
    });
    let theirs = |sync: bool| -> Measure {
        let to = &to;
        Box::new(move || {
            fs::create_dir(to).context("mkdir(2)")?;
            let start = Instant::now();
            must(tar(flags, packed).arg("-C").arg(to))?;
            if sync {
                let directory = File::open(to).context("open(2)")?;
                nix::unistd::syncfs(directory).context("syncfs(2)")?;
            }
            let took = start.elapsed().as_secs_f64() * 1e3;
            remove_tree(to)?;
            Ok(took)
        })
    };
    in_turn(
        place.runs,
        group,
        vec![
            ("import".into(), Aim::None, ours),
            (format!("tar {flags}"), Aim::Ratio(aim), theirs(false)),
            (format!("tar {flags}, and syncfs(2)"), Aim::None, theirs(true)),
        ],
    )
}

fn tar(flags: &str, file: &Path) -> Command {
    let mut tar = Command::new("tar");
    tar.arg(flags).arg(file).stdout(Stdio::null());
    tar
}

/// Create a directory with busybox, so that a container of it has a program.
pub(in crate::bench) fn program(place: &BenchDirs, tree: &Path) -> Result<()> {
    let state = State::at(&place.state);
    let image = busybox::image(&state)?;
    let layer = image.directories(&state).into_iter().next().context("no layer")?;
    let bin = tree.join("bin");
    fs::create_dir_all(&bin).step(|| format!("mkdir(2) {}", bin.display()))?;
    fs::copy(layer.join("bin/busybox"), bin.join("busybox"))
        .context("copy busybox")?;
    Ok(())
}

/// Create files that are as compressible as programs.
fn files(tree: &Path) -> Result<()> {
    let mut random = Random(2);
    for number in 0..FILES {
        let directory = tree.join(format!("usr/{}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&directory).context("mkdir(2)")?;
        }
        let bytes = random.half_text(EACH);
        write(&directory.join(number.to_string()), &bytes)?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).step(|| format!("write(2) {}", path.display()))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Pseudo-random bytes, the same in every run.
///
/// # Source
/// Marsaglia, "Xorshift RNGs"
pub(in crate::bench) struct Random(pub(in crate::bench) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(in crate::bench) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(count).collect()
    }

    /// As compressible as programs are: half is random, half is text.
    pub(in crate::bench) fn half_text(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = self.bytes(count / 2);
        while bytes.len() < count {
            bytes.extend(format!("word{} ", self.next() % 4000).bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
