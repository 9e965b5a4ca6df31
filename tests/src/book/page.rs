//! Reading the pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::block::{Block, Declared, Lane};

/// The number of blocks that are not run must be less than this, on all pages
/// together.
const EXCUSES: usize = 6;

/// A page with blocks.
#[derive(Clone, Debug)]
pub struct Page {
    /// `ch04-volume`, `design/sweep`, or `README`.
    pub name: String,
    /// The path, relative to the checkout's root.
    pub path: PathBuf,
    pub(crate) blocks: Vec<Block>,
}

/// Read all pages of a checkout: the book's pages and the README.
///
/// # Errors
/// All faults of the pages, one per line.
pub fn pages(root: &Path) -> Result<Vec<Page>, String> {
    let source = root.join("book/src");
    let mut files = markdown(&source)?;
    files.push(root.join("README.md"));
    let (mut pages, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        let text = read(&file)?;
        let path = file.strip_prefix(root).unwrap_or(&file).to_owned();
        let name = file.strip_prefix(&source).unwrap_or(&path).with_extension("");
        match blocks(&text) {
            Ok(blocks) => {
                let name = name.display().to_string();
                pages.push(Page { name, path, blocks });
            }
            Err(found) => {
                wrong.extend(found.into_iter().map(|(line, what)| {
                    format!("{}:{line}: {what}", path.display())
                }))
            }
        }
    }
    pages.retain(|page| !page.blocks.is_empty());
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    let excused = excused(&pages);
    if excused.len() >= EXCUSES {
        wrong.push(format!(
            "{} blocks declare a reason not to be run, but fewer than {EXCUSES} may: {}",
            excused.len(),
            excused.join(", ")
        ));
    }
    if wrong.is_empty() { Ok(pages) } else { Err(wrong.join("\n")) }
}

/// The positions of the blocks that are not run.
#[must_use]
pub fn excused(pages: &[Page]) -> Vec<String> {
    let mut found = Vec::new();
    for page in pages {
        let has_excuse = |block: &&Block| block.declared.excuse.is_some();
        for block in page.blocks.iter().filter(has_excuse) {
            found.push(format!("{}:{}", page.path.display(), block.line));
        }
    }
    found
}

impl Page {
    /// The machines on which the blocks run; `None` is the usual one.
    #[must_use]
    pub fn lanes(&self) -> BTreeSet<Option<Lane>> {
        let run = self.blocks.iter().filter(|block| block.declared.excuse.is_none());
        run.map(|block| block.declared.lane.clone()).collect()
    }
}

fn markdown(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = |error| format!("{}: {error}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(shown)?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(markdown(&path)?);
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The blocks of a page, or all its faults with their line numbers.
fn blocks(text: &str) -> Result<Vec<Block>, Vec<(usize, String)>> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut blocks, mut wrong) = (Vec::new(), Vec::new());
    let mut declared: Option<Declared> = None;
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let number = at + 1;
        at += 1;
        if let Some(comment) = comment(line) {
            let declared = declared.get_or_insert_default();
            declared.add(comment).unwrap_or_else(|what| wrong.push((number, what)));
            continue;
        }
        let console = *line == "```console";
        if declared.is_some() && !console {
            let what = "no console block follows the declaration";
            wrong.push((number - 1, what.into()));
            declared = None;
        }
        let Some(kind) = line.trim_start().strip_prefix("```") else { continue };
        let length =
            lines[at..].iter().take_while(|line| line.trim_start() != "```").count();
        let inside = &lines[at..at + length];
        at += length + 1;
        if console {
            let declared = declared.take().unwrap_or_default();
            match Block::parse(number, declared, inside) {
                Ok(block) => blocks.push(block),
                Err(found) => wrong.push(found),
            }
        } else if let Some(what) = hides_commands(kind, inside) {
            wrong.push((number, what));
        }
    }
    if wrong.is_empty() { Ok(blocks) } else { Err(wrong) }
}

/// The text of a comment with declarations.
fn comment(line: &str) -> Option<&str> {
    let inside = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
    inside.trim().strip_prefix("book:")
}

/// The fault of a shell block with another name, which would not be run.
fn hides_commands(kind: &str, lines: &[&str]) -> Option<String> {
    let shells = ["", "sh", "bash", "shell", "shell-session", "console"];
    let prompt = |line: &&str| line.starts_with("$ ") || line.starts_with("# ");
    // A script of the checkout is executed by its own test.
    let script = lines.iter().all(|line| line.starts_with("{{#include "));
    let hides = shells.contains(&kind.trim()) && !script
        || kind == "text" && lines.iter().any(prompt);
    hides.then(|| {
        format!(
            "commands must be in a block ```console, not indented, with a prompt; \
             this block is {kind:?}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<(usize, String)> {
        blocks(text).unwrap_err()
    }

    #[test]
    fn a_block_that_only_includes_a_script_is_accepted() {
        assert_eq!(blocks("```sh\n{{#include ../a.sh}}\n```\n").unwrap(), []);
        wrong("```sh\n{{#include ../a.sh}}\nls\n```\n");
    }

    #[test]
    fn a_block_is_found_with_its_preceding_declarations() {
        let text = "a\n\n<!-- book: 7 is a pid -->\n<!-- book: second terminal -->\n\
                    ```console\n$ echo 7\n7\n```\n\n```rust,ignore\n$ x\n```\n";
        let found = blocks(text).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].declared.second), (5, true));
        assert_eq!(found[0].steps[0].line, 6);
        assert_eq!(found[0].declared.varies.len(), 1);
    }

    #[test]
    fn a_block_that_would_not_be_run_is_refused() {
        for text in [
            "```sh\nls\n```\n",
            "```\nls\n```\n",
            "  ```console\n$ ls\n```\n",
            "```text\n# ls\n```\n",
            "<!-- book: 7 is a pid -->\n\n```console\n$ echo 7\n```\n",
            "<!-- book: seven -->\n```console\n$ echo 7\n```\n",
        ] {
            assert_eq!(wrong(text).len(), 1, "{text}");
        }
        assert!(blocks("```text\nerror: x\n```\n").unwrap().is_empty());
    }

    #[test]
    fn more_than_five_blocks_that_are_not_run_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("book/src/design")).unwrap();
        let excused = "<!-- book: not run: why -->\n```console\n$ x\n```\n";
        fs::write(dir.path().join("book/src/design/a.md"), excused).unwrap();
        fs::write(dir.path().join("README.md"), excused.repeat(4)).unwrap();
        let pages = super::pages(dir.path()).unwrap();
        let names: Vec<_> = pages.iter().map(|page| page.name.as_str()).collect();
        assert_eq!(names, ["README", "design/a"]);
        assert!(pages[0].lanes().is_empty());
        fs::write(dir.path().join("README.md"), excused.repeat(5)).unwrap();
        let error = super::pages(dir.path()).unwrap_err();
        assert!(error.contains("6 blocks declare a reason"), "{error}");
        assert!(error.contains("book/src/design/a.md:2"), "{error}");
    }
}
