//! `cargo xtask lane`: runs and counts the tests that run without the VM runner.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use common::rights;

use crate::checkout::target;
use crate::command::cargo;
use crate::install::{Installer, Package, on_path};
use crate::minimum;
use crate::registry_tools;
use crate::vm::scratch::Scratch;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kind of tests
    #[arg(value_parser = NAMES)]
    name: String,
}

/// The lanes.
pub(crate) const NAMES: [&str; 7] =
    ["unit", "laboratory", "generate", "runner", "images", "learner", "grade"];

/// The arguments of cargo for a lane.
fn arguments(name: &str) -> &'static [&'static str] {
    match name {
        "unit" => &["test", "--no-fail-fast"],
        // The library of the black-box tests; the black-box tests themselves need
        // root.
        "laboratory" => &["test", "--package", "blackbox", "--lib"],
        // Shells complete the chapters' command lines, and man(1) shows their pages.
        "generate" => &["test", "--package", "xtask", "--test", "generate"],
        // A real registry on this machine, and images of other tools.
        "images" => &[
            "test",
            "--package",
            "ch07-registry",
            "--package",
            "ch07-pull",
            "--features",
            "real-registry",
            "--test",
            "real",
        ],
        // The learner's commands share one build directory.
        "learner" => &[
            "test",
            "--package",
            "xtask",
            "--test",
            "learner",
            "--",
            "--test-threads",
            "1",
        ],
        // The lanes learner, runner and grade boot VMs.
        "runner" => &["test", "--package", "xtask", "--test", "runner"],
        _ => &[
            "test",
            "--package",
            "xtask",
            "--test",
            "grade",
            "--",
            "--test-threads",
            "2",
        ],
    }
}

/// The sum of libtest's result lines.
#[derive(Debug, Default, PartialEq)]
struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let scratch = Scratch::new(&target().join("lane"))?;
    let skips = scratch.path().join("skips");
    let mut tests = cargo();
    tests.args(arguments(&args.name)).env("MYDOCKER_SKIP_FILE", &skips);
    if args.name == "images" {
        match registry_tools::environment() {
            Ok(variables) => drop(tests.envs(variables)),
            // Each test that lacks a program is then counted as skipped.
            Err(error) => {
                eprintln!("docker-registry and skopeo are not available: {error:#}")
            }
        }
    }
    if args.name == "generate"
        && let Err(error) = shells()
    {
        eprintln!("not all shells are available: {error:#}");
    }
    let mut tests = tests.stdout(Stdio::piped()).spawn().context("cargo")?;
    let output = tests.stdout.take().context("cargo's output")?;
    let mut count = Count::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cargo's output")?;
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        count.add(&String::from_utf8_lossy(&line));
    }
    let status = tests.wait().context("cargo")?;
    let skipped = fs::read_to_string(&skips).unwrap_or_default();
    // Only the tests of programs that cannot be installed may skip. If too many do,
    // the lane does not reach its minimum.
    let may_skip = ["images", "generate"].contains(&args.name.as_str());
    let allowed = if may_skip { skipped.lines().count() } else { 0 };
    skipped.lines().take(allowed).for_each(|reason| println!("skipped: {reason}"));
    let executed = (count.passed + count.failed).saturating_sub(allowed);
    let enough = minimum::check(&args.name, executed, allowed);
    ensure!(status.success(), "lane {}: cargo test: {status}", args.name);
    enough?;
    if count.ignored > 0 || (!may_skip && !skipped.is_empty()) {
        bail!(
            "lane {}: no test may be skipped, but {} tests were ignored{}",
            args.name,
            count.ignored,
            skipped
                .lines()
                .map(|line| format!("; skipped: {line}"))
                .collect::<String>()
        );
    }
    Ok(())
}

/// Install the shells whose completion is tested, if this process is privileged.
fn shells() -> Result<()> {
    let shells = ["bash", "fish", "zsh"].into_iter();
    let missing: Vec<&str> = shells.filter(|it| on_path(it).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<Package> =
        missing.iter().map(|name| Package::named(name)).collect();
    let installer = Installer::of(&packages).context("no package manager")?;
    let line = installer.line();
    ensure!(rights::privileged(), "only root can install them; run as root: {line}");
    eprintln!("installing shells: {line}");
    installer.run()
}

impl Count {
    /// Add the numbers of a line, if it is a result line.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let Some((_, numbers)) = rest.split_once(". ") else { return };
        for part in numbers.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let number: usize = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up() {
        let mut count = Count::default();
        for line in [
            "running 3 tests",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 7 filtered",
        ] {
            count.add(line);
        }
        assert_eq!(count, Count { passed: 5, failed: 1, ignored: 1 });
    }
}
