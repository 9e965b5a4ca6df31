//! The distribution's `docker-registry` and `skopeo`, for the lane `images`:
//! installed ones, or packages that are downloaded and unpacked without root.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::step::Step;
use provision::apt::Apt;

use crate::checkout::target;
use crate::install::on_path;
use crate::vm::scratch::Scratch;

/// The programs that the tests run.
const PROGRAMS: [&str; 2] = ["docker-registry", "skopeo"];

/// The packages with the programs, and with libraries of skopeo that a small system
/// lacks.
const PACKAGES: [&str; 6] = [
    "docker-registry",
    "skopeo",
    "libgpgme11",
    "libassuan0",
    "libgpg-error0",
    "libdevmapper1.02.1",
];

/// The environment in which the tests find the programs; empty if they are
/// installed.
///
/// # Errors
/// The package manager has no such package, or no server can be reached.
pub fn environment() -> Result<Vec<(&'static str, String)>> {
    if PROGRAMS.iter().all(|program| on_path(program).is_some()) {
        return Ok(Vec::new());
    }
    let tree = unpacked()?;
    let path = |below: &str| tree.join(below).display().to_string();
    let old = env::var("PATH").unwrap_or_default();
    let libraries = ["usr/lib", "lib"].map(|directory| {
        format!("{}/{}-linux-gnu", path(directory), env::consts::ARCH)
    });
    Ok(vec![
        ("PATH", format!("{}:{old}", path("usr/bin"))),
        ("LD_LIBRARY_PATH", libraries.join(":")),
    ])
}

/// The directory into which the packages are unpacked. They are not installed, so
/// that no service is started.
fn unpacked() -> Result<PathBuf> {
    let parent = target().join("registry-tools");
    let tree = parent.join("tree");
    fs::create_dir_all(&parent).step(|| format!("mkdir(2) {}", parent.display()))?;
    let lock =
        File::open(&parent).step(|| format!("open(2) {}", parent.display()))?;
    lock.lock().step(|| format!("flock(2) {}", parent.display()))?;
    if !tree.exists() {
        let scratch = Scratch::new(&parent.join("new"))?;
        download(scratch.path())?;
        fs::rename(scratch.path().join("tree"), &tree)
            .step(|| format!("rename(2) to {}", tree.display()))?;
    }
    Ok(tree)
}

fn download(scratch: &Path) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let say = |text: &str| eprintln!("{text}");
    let apt = Apt::new(&path, &scratch.join("apt"), &say)?;
    for package in PACKAGES {
        apt.unpack(&apt.download(package)?, &scratch.join("tree"))?;
    }
    Ok(())
}
