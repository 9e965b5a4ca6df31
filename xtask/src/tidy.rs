//! `cargo xtask tidy`: rules that the compiler does not check. Each finding names
//! its place, the fault, and the remedy.

mod chapters;
mod count;
mod dependencies;
mod errno;
mod excerpts;
mod features;
mod frame;
mod imports;
mod items;
mod layout;
mod links;
mod named;
mod rust;
mod size;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use common::step::Step;

use crate::checkout::root;
use crate::progress::Progress;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write what is generated into the pages: the tasks and the table of errors
    #[arg(long)]
    fix: bool,
}

/// A violation of a rule.
#[derive(Debug, PartialEq)]
struct Finding {
    path: PathBuf,
    line: usize,
    /// The fault.
    what: String,
    /// The remedy.
    remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Finding { path, line, what, remedy } = self;
        write!(f, "{}:{line}: {what}: {remedy}", path.display())
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.fix {
        frame::fix()?;
        if let Some(text) = errno::fixed(&Checkout::read(&root())?) {
            let path = root().join(errno::PAGE);
            fs::write(&path, text)
                .step(|| format!("write(2) {}", path.display()))?;
        }
    }
    let progress = Progress::start("reading the files");
    let checkout = Checkout::read(&root())?;
    let mut found = checkout.findings();
    found.extend(frame::tasks(&checkout)?);
    found.extend(layout::root_entries(&root()));
    progress.step("comparing the features of every selection of packages");
    found.extend(features::features(&checkout)?);
    found.extend(dependencies::dependencies(&checkout)?);
    drop(progress);
    found.extend(count::count(&checkout)?);
    for finding in &found {
        println!("{finding}");
    }
    match found.len() {
        0 => println!("tidy: {} files, no findings", checkout.files.len()),
        1 => bail!("one finding"),
        count => bail!("{count} findings"),
    }
    Ok(())
}

/// The text files of a checkout, with their relative paths.
struct Checkout {
    files: Vec<File>,
}

struct File {
    path: PathBuf,
    text: String,
}

impl Checkout {
    /// Read the files that the rules check.
    fn read(root: &Path) -> Result<Checkout> {
        let mut files = Vec::new();
        let mut todo: Vec<PathBuf> =
            ["book/src", "chapters", "common", "tests", "xtask", "README.md"]
                .map(PathBuf::from)
                .to_vec();
        todo.extend(["Cargo.toml", ".ci", ".github"].map(PathBuf::from));
        todo.extend([".devcontainer", "LICENSE"].map(PathBuf::from));
        while let Some(path) = todo.pop() {
            let at = root.join(&path);
            let step = || format!("read(2) {}", at.display());
            if at.is_dir() {
                for entry in fs::read_dir(&at).step(step)? {
                    let name = entry.step(step)?.file_name();
                    if name != "target" {
                        todo.push(path.join(name));
                    }
                }
            } else if at.exists() {
                let text = fs::read(&at).step(step)?;
                let text = String::from_utf8_lossy(&text).into_owned();
                files.push(File { path, text });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Checkout { files })
    }

    /// The findings of the rules that do not need a build.
    fn findings(&self) -> Vec<Finding> {
        let rules = [
            excerpts::anchors,
            frame::parts,
            errno::table_differs,
            excerpts::rust_blocks,
            chapters::edges,
            chapters::complete,
            rust::unsafe_outside_common,
            rust::walls_in_common,
            links::dead,
            named::tests,
            imports::cycles,
            size::too_long,
        ];
        rules.iter().flat_map(|rule| rule(self)).collect()
    }

    fn file(&self, path: &Path) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The files below a directory that have this extension.
    fn below<'a>(
        &'a self,
        directory: &'a str,
        end: &'a str,
    ) -> impl Iterator<Item = &'a File> {
        let fits = move |file: &&File| {
            let extension = file.path.extension().is_some_and(|it| it == end);
            file.path.starts_with(directory) && extension
        };
        self.files.iter().filter(fits)
    }

    /// The book's pages, and the README.
    fn pages(&self) -> impl Iterator<Item = &File> {
        let readme = self.file(Path::new("README.md"));
        self.below("book/src", "md").chain(readme)
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file.path.starts_with(path))
    }
}

impl File {
    fn finding(&self, line: usize, what: String, remedy: &str) -> Finding {
        Finding { path: self.path.clone(), line, what, remedy: remedy.to_owned() }
    }

    /// The lines with their numbers, starting at 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The number of the line at this byte position.
    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }
}

/// The path without `..` components.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// A fake checkout, for the rules' own tests.
#[cfg(test)]
fn made_up(files: &[(&str, &str)]) -> Checkout {
    let file = |(path, text): &(&str, &str)| File {
        path: path.into(),
        text: (*text).to_owned(),
    };
    Checkout { files: files.iter().map(file).collect() }
}

/// The text of the findings, for the rules' own tests.
#[cfg(test)]
fn said(found: &[Finding]) -> String {
    found.iter().map(|finding| format!("{finding}\n")).collect()
}
