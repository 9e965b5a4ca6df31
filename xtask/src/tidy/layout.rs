//! The root of the checkout contains what the layout says, and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Finding;

/// The entries of the root.
const ROOT: [&str; 16] = [
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".devcontainer",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "book",
    "chapters",
    "common",
    "tests",
    "xtask",
];

/// Committed files are in the agreed directories. A checkout without git is not checked.
pub(super) fn root_entries(root: &Path) -> Vec<Finding> {
    let listed =
        Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    match listed {
        Ok(out) if out.status.success() => {
            unexpected(&String::from_utf8_lossy(&out.stdout))
        }
        _ => Vec::new(),
    }
}

/// The entries that are not in the list. Each path ends with a null byte.
fn unexpected(paths: &str) -> Vec<Finding> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let entries: BTreeSet<String> =
        paths.split_terminator('\0').map(first).collect();
    let others = entries.into_iter().filter(|entry| !ROOT.contains(&entry.as_str()));
    let finding = |entry| Finding {
        path: PathBuf::from(entry),
        line: 1,
        what: "it is committed at the root of the checkout".to_owned(),
        remedy: "remove it with `git rm`, or add it to xtask/src/tidy/layout.rs"
            .to_owned(),
    };
    others.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_outside_the_layout_is_found() {
        assert!(unexpected("Cargo.toml\0book/src/a.md\0.ci/run\0").is_empty());
        let found =
            unexpected("perf.data\0perf.data.old\0scratch/a\0scratch/b\0xtask/x\0");
        let found: Vec<_> =
            found.iter().map(|it| it.path.to_str().unwrap()).collect();
        assert_eq!(found, ["perf.data", "perf.data.old", "scratch"]);
    }
}
