//! Everything that a VM needs: found, fetched, built and packed.

use std::sync::Mutex;

use anyhow::{Context, Result};
use common::images::Image;
use common::state::State;
use common::step::{Hint, Step};
use provision::busybox;

use crate::build::Built;
use crate::vm::accelerator::{self, Accelerator, Choice};
use crate::vm::payload::Payload;
use crate::vm::qemu::Qemu;
use crate::vm::scratch::Scratch;
use crate::vm::tree::Tree;
use crate::vm::{self, Cgroup, Set, kernel, say};

/// The megabytes of memory of a VM.
const MEMORY: u32 = 512;

/// The files of the checkout that tests read.
const SNAPSHOTS: [&str; 2] =
    ["tests/tests/blackbox/snapshots", "tests/tests/faults/chapters/snapshots"];
const PAGES: [&str; 2] = ["book/src", "README.md"];

/// Create a set that is ready to boot.
///
/// # Errors
/// A part of it fails.
pub fn make(
    built: &Built,
    qemu: &Qemu,
    wanted: &str,
    cgroup: Cgroup,
    accelerator: Accelerator,
) -> Result<Set> {
    make_with(built, qemu, wanted, cgroup, accelerator, Tree::default())
}

/// Create a set with additional files, ready to boot.
///
/// # Errors
/// A part of it fails.
pub(crate) fn make_with(
    built: &Built,
    qemu: &Qemu,
    wanted: &str,
    cgroup: Cgroup,
    accelerator: Accelerator,
    more: Tree,
) -> Result<Set> {
    let directory = vm::directory();
    let scratch = Scratch::new(&directory.join("runs"))?;
    let state = vm::state();
    let image = busybox::image(&state)?;
    let busybox = program(&state, &image)?;
    let kernel = kernel::find(wanted, &directory.join("kernels"), &busybox)?;
    let mut chapters = built.chapters.clone();
    chapters.push(built.probe.clone());
    chapters.extend(built.doctor.clone());
    let tests: Vec<_> = built
        .tests
        .iter()
        .map(|(name, path)| (name.clone(), path.clone()))
        .collect();
    let pages = PAGES.map(|page| (page.to_owned(), built.pages.join(page)));
    let mut sources = pages.to_vec();
    let root = crate::checkout::root();
    sources.extend(SNAPSHOTS.map(|path| (path.to_owned(), root.join(path))));
    let medium = Payload {
        kernel: &kernel,
        init: &built.init,
        chapters: &chapters,
        tests: &tests,
        state: &state,
        busybox: &image,
        sources: &sources,
        more,
    }
    .write(scratch.path())
    .hint(vm::full)?;
    Ok(Set {
        qemu: qemu.clone(),
        kernel,
        accelerator,
        cgroup,
        medium,
        disks: Vec::new(),
        memory: MEMORY,
        raw_root: false,
        boot_limit: None,
        boot_config: Mutex::default(),
        kept: true,
        scratch,
    })
}

/// Choose the accelerator of the VM, and print the reason.
///
/// # Errors
/// The target directory is not writable.
pub fn accelerator(choice: Choice, qemu: &Qemu) -> Result<Accelerator> {
    let directory = vm::directory();
    std::fs::create_dir_all(&directory)
        .step(|| format!("mkdir(2) {}", directory.display()))?;
    let (accelerator, reason) = accelerator::choose(choice, qemu, &directory)?;
    say(&format!("running by {}: {reason}", accelerator.name()));
    Ok(accelerator)
}

/// The busybox program of the image.
fn program(state: &State, image: &Image) -> Result<std::path::PathBuf> {
    let layers = image.directories(state);
    let found = layers.iter().map(|layer| layer.join("bin/busybox"));
    found.into_iter().find(|path| path.is_file()).context("the image has no busybox")
}
