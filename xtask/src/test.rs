//! `cargo xtask test`: the black-box tests, privileged ones included.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use common::rights;

use crate::{cargo, must, root, target};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the tests whose names contain one of these [default: all]
    filter: Vec<String>,

    /// List the tests, and run none
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(args: Args) -> Result<()> {
    must(cargo().args(["build", "--quiet", "--workspace", "--bins"]))?;
    let mut targets = Vec::new();
    for target in chapters()? {
        // A chapter's name means all its tests.
        let whole = |word: &String| target.contains(&word.replace('-', "_"));
        let filter =
            if args.filter.iter().any(whole) { &[] } else { args.filter.as_slice() };
        let names = listed(&target, filter)?;
        if !names.is_empty() {
            targets.push((target, filter, names));
        }
    }
    if targets.is_empty() {
        bail!(
            "no chapter and no test's name contains {:?}: --list shows them all",
            args.filter
        );
    }
    if args.list {
        for (target, _, names) in &targets {
            names.iter().for_each(|name| eprintln!("{target}: {name}"));
        }
        return Ok(());
    }
    if !rights::privileged() {
        bail!(
            "the tests make containers on this machine, which takes root; this \
             works: sudo --preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME env \
             CARGO_TARGET_DIR=target/root cargo xtask test {}",
            args.filter.join(" ")
        );
    }
    let count: usize = targets.iter().map(|(_, _, names)| names.len()).sum();
    eprintln!(
        "running {count} tests on this machine, as root, each between two looks at \
         its mounts, cgroups, links, rules, processes and files"
    );
    let probe = probe()?;
    let mut failed = Vec::new();
    for (target, filter, _) in targets {
        let mut test = cargo();
        test.args(["test", "--quiet", "--package", "blackbox", "--test", &target]);
        test.args(["--no-fail-fast", "--"]).args(filter);
        test.env("MYDOCKER_BIN_DIR", self::target().join("debug"));
        eprintln!("\n{target}");
        if !test.env("MYDOCKER_PROBE", &probe).status()?.success() {
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The test programs, one a chapter.
fn chapters() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/tests"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|s| s.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// The names of a program's tests that the filter leaves.
fn listed(target: &str, filter: &[String]) -> Result<Vec<String>> {
    let mut list = cargo();
    list.args(["test", "--quiet", "--package", "blackbox", "--test", target, "--"]);
    let output = list.args(filter).args(["--list", "--format", "terse"]).output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let tests = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(tests.map(str::to_owned).collect())
}

/// Build the helper that runs inside containers, linked statically: their root has
/// no loader for another.
fn probe() -> Result<PathBuf> {
    let version = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc -vV names no host")?;
    // With --target, flags for static linking don't reach build scripts and macros.
    let build = ["rustc", "--quiet", "--package", "blackbox", "--bin", "probe"];
    let link = ["--target", host, "--", "-C", "target-feature=+crt-static"];
    must(cargo().args(build).args(link))?;
    Ok(target().join(host).join("debug/probe"))
}
