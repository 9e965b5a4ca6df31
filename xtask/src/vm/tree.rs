//! The files of the VM's filesystems, before they are written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use common::step::Step;

use super::modules;

/// Files by their paths, without a leading slash. A directory comes before its
/// entries.
#[derive(Debug, Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<Vec<u8>, Node>);

/// A file. All files belong to root and have the time 0.
#[derive(Debug)]
pub(crate) enum Node {
    /// A directory with its mode.
    Directory(u32),
    /// A regular file with its mode and content.
    File(u32, Vec<u8>),
    /// A symlink with its target.
    Symlink(Vec<u8>),
    /// A character device with its mode, major and minor number.
    CharacterDevice(u32, (u32, u32)),
}

impl Tree {
    /// Add a file, and its missing parent directories.
    pub(crate) fn add(&mut self, path: &str, node: Node) {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            let parent = path.as_bytes()[..at].to_vec();
            self.0.entry(parent).or_insert(Node::Directory(0o755));
        }
        self.0.insert(path.as_bytes().to_vec(), node);
    }

    /// Add a program.
    ///
    /// # Errors
    /// The program cannot be read.
    pub(crate) fn program(&mut self, path: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).step(|| format!("read(2) {}", from.display()))?;
        self.add(path, Node::File(0o755, bytes));
        Ok(())
    }

    /// Add a directory with everything in it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let step = || format!("readdir(3) {}", from.display());
        if !path.is_empty() {
            let mode = fs::metadata(from).step(step)?.permissions().mode();
            self.add(path, Node::Directory(mode & 0o7777));
        }
        for entry in fs::read_dir(from).step(step)? {
            let from = entry.step(step)?.path();
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            let path = format!("{path}/{name}");
            let shown = || from.display().to_string();
            let meta = from.symlink_metadata().step(shown)?;
            let mode = meta.permissions().mode() & 0o7777;
            if meta.is_dir() {
                self.copy(&path, &from)?;
            } else if meta.is_symlink() {
                let target = fs::read_link(&from).step(shown)?;
                let target = target.as_os_str().as_bytes().to_vec();
                self.add(&path, Node::Symlink(target));
            } else if meta.is_file() {
                let bytes = fs::read(&from).step(shown)?;
                self.add(&path, Node::File(mode, bytes));
            }
        }
        Ok(())
    }

    /// Trim all kernel modules.
    pub(crate) fn trim_modules(&mut self) {
        for (path, node) in &mut self.0 {
            if let Node::File(_, module) = node
                && path.ends_with(b".ko")
            {
                *module = modules::trimmed(std::mem::take(module));
            }
        }
    }

    /// Remove and return everything below a directory; the empty directory stays.
    pub(crate) fn take(&mut self, directory: &str) -> Tree {
        let prefix = format!("{}/", directory.trim_start_matches('/')).into_bytes();
        let all = std::mem::take(&mut self.0);
        let (below, rest): (BTreeMap<_, _>, _) =
            all.into_iter().partition(|(path, _)| path.starts_with(&prefix));
        self.0 = rest;
        let short = |path: Vec<u8>| path[prefix.len()..].to_vec();
        Tree(below.into_iter().map(|(path, node)| (short(path), node)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_a_file_creates_its_directories_and_take_removes_a_subtree() {
        let mut tree = Tree::default();
        tree.add("/usr/lib/a", Node::File(0o644, b"x".to_vec()));
        tree.add("/usr-x", Node::Symlink(b"usr".to_vec()));
        let paths = |tree: &Tree| -> Vec<String> {
            let paths = tree.0.keys().cloned();
            paths.map(|path| String::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(paths(&tree), ["usr", "usr-x", "usr/lib", "usr/lib/a"]);
        let below = tree.take("/usr");
        assert_eq!(paths(&below), ["lib", "lib/a"]);
        assert_eq!(paths(&tree), ["usr", "usr-x"]);
    }
}
