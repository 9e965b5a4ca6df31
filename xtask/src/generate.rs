//! `cargo xtask completions` and `cargo xtask man`: shell completions and manual
//! pages of the chapters, from the same list of options that `--help` prints.
//!
//! The chapters generate the files themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::checkout::{root, target};
use crate::command::{cargo, must};
use crate::date::today;

#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The chapters [default: all]
    chapter: Vec<String>,

    /// Shell for which to generate; may be repeated [default: all three]
    #[arg(long)]
    shell: Vec<Shell>,

    /// Output directory [default: target/completions]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Man {
    /// The chapters [default: all]
    chapter: Vec<String>,

    /// Output directory; its subdirectory man1 contains the pages, for man -M DIR
    /// [default: target/man]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        }
    }

    /// The commands that load the completions, as text.
    fn how(self, directory: &Path) -> String {
        let shown = directory.display();
        match self {
            Shell::Bash => format!("for file in {shown}/*.bash; do . $file; done"),
            Shell::Zsh => format!("fpath=({shown} $fpath); compinit"),
            Shell::Fish => format!("for file in {shown}/*.fish; source $file; end"),
        }
    }
}

/// # Errors
/// A chapter is unknown; cargo or write(2) fails.
pub(crate) fn completions(args: &Completions) -> Result<()> {
    let shells = match args.shell.as_slice() {
        [] => Shell::value_variants(),
        some => some,
    };
    let out = place(args.out.as_deref(), "completions")?;
    let names: Vec<&str> = shells.iter().map(|shell| shell.name()).collect();
    let count = generate(&args.chapter, &out, &names)?;
    println!("completions of {count} chapters are in {}; try:", out.display());
    for shell in shells {
        println!("  {:<5} {}", shell.name(), shell.how(&out));
    }
    Ok(())
}

/// # Errors
/// A chapter is unknown; cargo or write(2) fails.
pub(crate) fn man(args: &Man) -> Result<()> {
    let out = place(args.out.as_deref(), "man")?;
    let count = generate(&args.chapter, &out.join("man1"), &["man"])?;
    let shown = out.display();
    println!("manual pages of {count} chapters are in {shown}; try:");
    let first = args.chapter.first().map_or("ch04-volume", String::as_str);
    println!("  man -M {shown} {first}");
    Ok(())
}

fn place(out: Option<&Path>, name: &str) -> Result<PathBuf> {
    let out = out.map_or_else(|| target().join(name), Path::to_owned);
    std::path::absolute(&out).context("--out")
}

/// Let these chapters generate the files in a directory; returns the number of
/// chapters.
fn generate(wanted: &[String], out: &Path, what: &[&str]) -> Result<usize> {
    let chapters = chosen(wanted, &all()?)?;
    let mut build = cargo();
    // With this profile and these features, `cargo build` has already built them.
    build.arg("build");
    build.args(chapters.iter().flat_map(|chapter| ["--package", chapter]));
    must(&mut build)?;
    for chapter in &chapters {
        let program = target().join("debug").join(chapter);
        must(
            Command::new(program).arg("generate").arg(out).arg(today()).args(what),
        )?;
    }
    Ok(chapters.len())
}

/// The chapters that parse flags. ch01-fifty-lines and `common` parse none.
fn all() -> Result<Vec<String>> {
    let chapters = root().join("chapters");
    let mut names = Vec::new();
    for entry in fs::read_dir(&chapters).context("chapters")? {
        let path = entry?.path();
        let Ok(manifest) = fs::read_to_string(path.join("Cargo.toml")) else {
            continue;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if manifest.contains("\ncommon.workspace") {
            names.push(name.into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The chapters that the user named; all chapters if none is named.
fn chosen(wanted: &[String], all: &[String]) -> Result<Vec<String>> {
    if wanted.is_empty() {
        return Ok(all.to_vec());
    }
    if let Some(name) = wanted.iter().find(|name| !all.contains(name)) {
        if Shell::value_variants().iter().any(|shell| shell.name() == name) {
            bail!("{name} is a shell, not a chapter: add --shell {name}");
        }
        bail!("no chapter {name} with options: expected one of {}", all.join(", "));
    }
    Ok(wanted.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_chapters_except_the_fifty_lines_parse_flags() {
        let all = all().unwrap();
        assert!(all.len() >= 22, "{all:?}");
        assert!(all.contains(&"ch05-env".to_owned()));
        assert!(!all.contains(&"ch01-fifty-lines".to_owned()));
    }

    #[test]
    fn an_unknown_chapter_is_refused() {
        let all = ["ch02-uts".to_owned(), "ch02-ipc".to_owned()];
        assert_eq!(chosen(&[], &all).unwrap(), all);
        assert_eq!(chosen(&all[1..], &all).unwrap(), all[1..]);
        let error = chosen(&["ch99".to_owned()], &all).unwrap_err().to_string();
        assert!(error.contains("ch99") && error.contains("ch02-uts"), "{error}");
        let error = chosen(&["zsh".to_owned()], &all).unwrap_err().to_string();
        assert!(error.ends_with("add --shell zsh"), "{error}");
    }
}
