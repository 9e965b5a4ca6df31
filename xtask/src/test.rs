//! `cargo xtask test`: the black-box tests, privileged ones included.

use anyhow::{Result, bail};
use common::rights;

use crate::{cargo, must, target};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the tests whose names contain one of these [default: all]
    filter: Vec<String>,

    /// List the tests, and run none
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let packages = ["build", "--quiet", "--workspace", "--bins"];
    must(cargo().args(packages))?;
    let mut test = cargo();
    test.args(["test", "--quiet", "--package", "blackbox", "--no-fail-fast", "--"]);
    test.args(&args.filter);
    let names = listed(&args.filter)?;
    if names.is_empty() {
        bail!("no test's name contains {:?}: --list shows them all", args.filter);
    }
    if args.list {
        eprintln!("{}", names.join("\n"));
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
    eprintln!(
        "running {} tests on this machine, as root: every one is held between two \
         looks at its mounts, cgroups, links, rules, processes and files",
        names.len()
    );
    must(test.env("MYDOCKER_BIN_DIR", target().join("debug")))
}

/// The names of the tests that the filter leaves.
fn listed(filter: &[String]) -> Result<Vec<String>> {
    let mut list = cargo();
    list.args(["test", "--quiet", "--package", "blackbox", "--"]).args(filter);
    let output = list.args(["--list", "--format", "terse"]).output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let tests = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(tests.map(str::to_owned).collect())
}
