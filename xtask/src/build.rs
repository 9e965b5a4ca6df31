//! Building the static programs that run in the VM and in containers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::step::Step;
use serde_json::Value;

use crate::checkout::{root, target};
use crate::command::{cargo, must};
use crate::vm::libraries;
use crate::vm::tree::Tree;

/// A build that takes longer prints a message.
const SOON: Duration = Duration::from_secs(2);

/// The cargo profile of the programs that run in the VM.
const IN_VM: &str = "in-vm";

/// The result of a build.
pub struct Built {
    /// The directory with the chapters' programs.
    pub bin_dir: PathBuf,
    /// The chapters' programs.
    pub chapters: Vec<PathBuf>,
    /// The tests' helper program, which runs inside and outside of containers.
    pub probe: PathBuf,
    /// The doctor, which has tests in the VM; `None` if only exercises were built.
    pub doctor: Option<PathBuf>,
    /// PID 1 of the VM.
    pub init: PathBuf,
    /// A checkout with the book's pages and the README.
    pub pages: PathBuf,
    /// Test programs by name.
    pub tests: BTreeMap<String, PathBuf>,
}

/// Build the chapters, the black-box tests and the VM's PID 1, linked statically,
/// and also the test programs `extra`.
///
/// # Errors
/// cargo fails.
pub fn build(extra: &[&str]) -> Result<Built> {
    let mut build = static_build(IN_VM)?;
    build.args(["--workspace", "--exclude", "xtask", "--exclude", "chapter-tasks"]);
    // Pages of the book run the examples.
    build.args([
        "--bins",
        "--example",
        "witness",
        "--example",
        "dnat",
        "--example",
        "masquerade",
    ]);
    build.args(["--test", "blackbox"]);
    for program in extra {
        build.args(["--test", program]);
    }
    run(build, "building the chapters and tests")
}

/// Build only these chapters and the test program with the exercises: a tenth of all
/// chapters and tests. They have the profile of `cargo build` and `cargo run`, so that
/// nothing is built twice. They are not static: the VM needs [`Built::libraries`].
///
/// # Errors
/// cargo fails.
pub(crate) fn build_exercises(chapters: &[&str], program: &str) -> Result<Built> {
    let mut build = cargo();
    build.arg("build");
    for package in ["blackbox", "vm-init"].iter().chain(chapters) {
        build.args(["--package", package]);
    }
    for binary in ["probe", "vm-init"].iter().chain(chapters) {
        build.args(["--bin", binary]);
    }
    build.args(["--test", program]);
    run(build, &format!("building {}the checks", list(chapters)))
}

/// Build only one chapter for the VM, in the same way.
///
/// # Errors
/// cargo fails.
pub(crate) fn build_one(chapter: &str) -> Result<Built> {
    let mut build = cargo();
    build.args(["build", "--package", "blackbox", "--package", "vm-init"]);
    build.args(["--package", chapter, "--bin", "probe", "--bin", "vm-init"]);
    build.args(["--bin", chapter]);
    run(build, &format!("building {chapter}"))
}

/// The names, each with "and" after it.
fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name} and ")).collect()
}

/// Run a build and collect its programs. If it takes longer than [`SOON`], the user
/// reads what is built.
fn run(mut build: Command, what: &str) -> Result<Built> {
    build.args(["--message-format", "json-render-diagnostics"]);
    let message = what.to_owned();
    let (done, waiting) = mpsc::channel::<()>();
    thread::spawn(move || {
        if waiting.recv_timeout(SOON) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{message}");
        }
    });
    let output = build.stderr(Stdio::inherit()).output().context("cargo")?;
    drop(done);
    if !output.status.success() {
        bail!("{what} failed");
    }
    let (mut programs, mut tests) = (BTreeMap::new(), BTreeMap::new());
    for line in output.stdout.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<Value>(line) else { continue };
        let Some(path) = message["executable"].as_str() else { continue };
        let target = &message["target"];
        let name = target["name"].as_str().unwrap_or_default().to_owned();
        let is_test = target["kind"][0] == "test";
        let map = if is_test { &mut tests } else { &mut programs };
        map.insert(name, PathBuf::from(path));
    }
    let mut take = |name: &str| {
        programs.remove(name).with_context(|| format!("cargo built no {name}"))
    };
    let (probe, init) = (take("probe")?, take("vm-init")?);
    let doctor = take("doctor").ok();
    let bin_dir = probe.parent().unwrap_or(Path::new("")).to_owned();
    let chapters = programs.into_values().collect();
    let pages = root();
    Ok(Built { bin_dir, chapters, probe, doctor, init, pages, tests })
}

/// `cargo build` of programs that are linked statically.
fn static_build(profile: &str) -> Result<Command> {
    let host = host()?;
    let mut build = cargo();
    // With --target, the flags for static linking do not affect build scripts and
    // macros.
    build.args(["build", "--profile", profile, "--target", &host]);
    // Not position-independent: the programs are smaller, and no relocations are
    // processed at each start, which takes long under emulation.
    let flags = format!(
        "target.{host}.rustflags=['-Ctarget-feature=+crt-static','-Crelocation-model=static']"
    );
    build.args(["--config", &flags]);
    // These variables would override the flags.
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    Ok(build)
}

/// Build what these arguments name, optimised and linked statically, as for a
/// release. Returns the directory of the programs.
///
/// # Errors
/// cargo fails.
pub fn build_release(arguments: &[&str]) -> Result<PathBuf> {
    must(static_build("release")?.args(arguments))?;
    Ok(target().join(host()?).join("release"))
}

/// Build the chapters of another checkout in the same way, or only the chapter
/// `only`; `target` is the build directory. Returns the directory of the programs.
///
/// # Errors
/// cargo fails.
pub(crate) fn build_chapters(
    checkout: &Path,
    target: &Path,
    only: Option<&str>,
) -> Result<PathBuf> {
    let mut build = static_build(IN_VM)?;
    build.current_dir(checkout).env("CARGO_TARGET_DIR", target).arg("--workspace");
    for other in ["xtask", "chapter-tasks", "doctor", "vm-init", "blackbox"] {
        build.args(["--exclude", other]);
    }
    match only {
        None => build.arg("--bins"),
        Some(chapter) => build.args(["--bin", chapter]),
    };
    must(&mut build)?;
    Ok(target.join(host()?).join(IN_VM))
}

impl Built {
    /// The loader and the libraries of all programs, at the paths that they have on this
    /// machine. Empty if all programs are static.
    ///
    /// # Errors
    /// A program cannot be read; a library is not installed.
    pub(crate) fn libraries(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        let programs = self.chapters.iter().chain(self.tests.values());
        for program in programs.chain([&self.probe, &self.init]) {
            let bytes = fs::read(program)
                .step(|| format!("read(2) {}", program.display()))?;
            for library in libraries::needed(program, &bytes)? {
                tree.program(&library.to_string_lossy(), &library)?;
            }
        }
        Ok(tree)
    }

    /// The path of a test program.
    ///
    /// # Errors
    /// There is no test program with this name.
    pub fn test(&self, name: &str) -> Result<&Path> {
        let found = self.tests.get(name).map(PathBuf::as_path);
        found.with_context(|| format!("there is no test program {name}"))
    }

    /// Use the programs of a directory instead of the chapters. The VM has no loader
    /// and no libraries for them.
    ///
    /// # Errors
    /// The directory has no such programs, or a program is not static.
    pub(crate) fn replace_chapters(
        &mut self,
        directory: &Path,
        static_only: bool,
    ) -> Result<()> {
        let shown = directory.display();
        let entries =
            fs::read_dir(directory).with_context(|| format!("--bin-dir {shown}"))?;
        self.bin_dir = fs::canonicalize(directory)?;
        self.chapters.clear();
        for path in entries.flatten().map(|entry| entry.path()) {
            let meta = fs::metadata(&path)?;
            let is_program =
                meta.is_file() && meta.permissions().mode() & 0o111 != 0;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Cargo's own directory contains more programs than the chapters.
            if !is_program || !name.starts_with("ch") {
                continue;
            }
            if static_only && provision::busybox::wants_loader(&fs::read(&path)?) {
                bail!(
                    "--bin-dir: {} is not static, and the VM has no libraries: link \
                     it statically, or use --here",
                    path.display()
                );
            }
            self.chapters.push(path);
        }
        if self.chapters.is_empty() {
            bail!("--bin-dir {shown}: no program in it has a chapter's name");
        }
        Ok(())
    }
}

/// The target triple of this machine.
///
/// # Errors
/// rustc is not installed.
pub fn host() -> Result<String> {
    let version = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
