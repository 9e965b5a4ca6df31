//! The files that go into the VM with a program: its loader and libraries, a
//! script's interpreter, and the files that the adapter names.
//!
//! The disk becomes /usr. Other files of this machine are stored below
//! [`place::GRADE`] on the disk, and symlinks point to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use common::step::Step;
use vm_init::grade::{Adapter, Subject};
use vm_init::place;

use crate::vm::libraries;
use crate::vm::tree::{Node, Tree};

/// Interpreters that the VM's busybox provides.
const SHELLS: [&str; 3] = ["sh", "ash", "busybox"];

/// Parts of Python's library that no container program needs.
const EXCLUDED: [&str; 9] = [
    "__pycache__",
    "dist-packages",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "site-packages",
    "test",
    "tests",
    "tkinter",
];

struct Packing {
    tree: Tree,
    links: BTreeMap<String, String>,
}

/// Collect the files.
///
/// # Errors
/// The program or a file that it needs cannot be read; a library is not found.
pub(crate) fn pack(binary: &Path, adapter: Adapter) -> Result<(Tree, Subject)> {
    let mut packing = Packing { tree: Tree::default(), links: BTreeMap::new() };
    let path = fs::canonicalize(binary).step(|| binary.display().to_string())?;
    let bytes = fs::read(&path).step(|| format!("read(2) {}", path.display()))?;
    let name = path.file_name().context("a program has a name")?.to_string_lossy();
    let at = format!("{}/bin/{name}", place::GRADE);
    packing.needs(&path, &bytes)?;
    let mode = fs::metadata(&path)?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777;
    packing.tree.add(&at, Node::File(mode, bytes));
    for file in &adapter.files {
        packing
            .take(&std::path::absolute(file)?, &[])
            .with_context(|| format!("the adapter's files: {file}"))?;
    }
    let subject = Subject { binary: at, adapter, links: packing.links };
    let text = serde_json::to_vec(&subject)?;
    let at = format!("{}/subject.json", place::GRADE);
    packing.tree.add(&at, Node::File(0o644, text));
    Ok((packing.tree, subject))
}

impl Packing {
    /// The path in the VM of a path of this machine.
    fn place(&mut self, path: &Path) -> String {
        let path = path.to_string_lossy();
        if path.starts_with(&format!("{}/", place::DISK)) {
            return path.into_owned();
        }
        let at = format!("{}/root{path}", place::GRADE);
        self.links.insert(path.into_owned(), at.clone());
        at
    }

    /// Add a file, or a directory except the entries `without`, and the files that
    /// it needs.
    fn take(&mut self, path: &Path, without: &[&str]) -> Result<()> {
        let at = self.place(path);
        self.copy(path, &at, without)
    }

    fn copy(&mut self, path: &Path, at: &str, without: &[&str]) -> Result<()> {
        let shown = || path.display().to_string();
        let meta = fs::metadata(path).step(shown)?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
        if !meta.is_dir() {
            if self.tree.0.contains_key(at.trim_start_matches('/').as_bytes()) {
                return Ok(());
            }
            let bytes = fs::read(path).step(shown)?;
            // Scripts in a directory are executed by programs that are already in
            // the VM. A library of Python may need a library that is missing here;
            // it is not loaded then.
            let needed = self.needs_libraries(path, &bytes);
            if without.is_empty() {
                needed?;
            }
            self.tree.add(at, Node::File(mode & 0o777, bytes));
            return Ok(());
        }
        self.tree.add(at, Node::Directory(mode & 0o777));
        for entry in fs::read_dir(path).step(shown)? {
            let path = entry.step(shown)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Skip a symlink without a target.
            if without.contains(&name.as_ref()) || !path.exists() {
                continue;
            }
            self.copy(&path, &format!("{at}/{name}"), without)?;
        }
        Ok(())
    }

    /// Add the files that are required to execute this file.
    fn needs(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        if let Some(rest) = bytes.strip_prefix(b"#!") {
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return self.interpreter(&String::from_utf8_lossy(line));
        }
        self.needs_libraries(path, bytes)
    }

    fn needs_libraries(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        for library in libraries::needed(path, bytes)? {
            let at = self.place(&library);
            self.tree.program(&at, &library)?;
        }
        Ok(())
    }

    /// Parse a script's first line, without `#!`.
    fn interpreter(&mut self, line: &str) -> Result<()> {
        let mut words = line.split_whitespace();
        let mut word = words.next().unwrap_or_default();
        if word.ends_with("/env") {
            word = words.find(|word| !word.starts_with('-')).unwrap_or_default();
        }
        let name = Path::new(word).file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        if SHELLS.contains(&name.as_str()) {
            return Ok(());
        }
        let path = on_path(word).with_context(|| {
            format!("the script's interpreter {word:?} is not installed")
        })?;
        let program = if name.starts_with("python") {
            self.python(&path)?
        } else {
            fs::canonicalize(&path).step(|| path.display().to_string())?
        };
        self.take(&program, &[])?;
        // At the path in the script, and where env(1) finds it.
        let target = || Node::Symlink(program.to_string_lossy().into_owned().into());
        self.tree.add(&format!("/usr/local/bin/{name}"), target());
        if Path::new(word).is_absolute() && Path::new(word) != program {
            let at = self.place(Path::new(word));
            self.tree.add(&at, target());
        }
        Ok(())
    }

    /// Ask Python for the paths of its binary and its library.
    fn python(&mut self, path: &Path) -> Result<PathBuf> {
        let script = "import sys, sysconfig\nprint(sys.executable)\n\
                      for n in 'stdlib', 'platstdlib': print(sysconfig.get_path(n))";
        let output = Command::new(path)
            .args(["-c", script])
            .output()
            .step(|| format!("execve(2) {}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let [program, libraries @ ..] = lines.as_slice() else {
            bail!("{} does not report the path of its library", path.display());
        };
        let program = fs::canonicalize(program).step(|| (*program).to_owned())?;
        for library in libraries {
            let library =
                fs::canonicalize(library).step(|| (*library).to_owned())?;
            self.take(&library, &EXCLUDED)?;
        }
        Ok(program)
    }
}

fn on_path(word: &str) -> Option<PathBuf> {
    if word.contains('/') {
        return Some(PathBuf::from(word)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(word))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_packed_with_its_loader_and_libraries() {
        let own = std::env::current_exe().unwrap();
        let (tree, subject) = pack(&own, Adapter::default()).unwrap();
        let has = |part: &str| {
            tree.0.keys().any(|path| String::from_utf8_lossy(path).contains(part))
        };
        assert!(has("libc.so") || has("libc.musl"), "{:?}", tree.0.keys());
        assert!(has("subject.json"));
        assert!(subject.binary.starts_with(place::GRADE));
        for at in subject.links.values() {
            assert!(has(at.trim_start_matches('/')), "{at}");
        }
    }

    #[test]
    fn a_shell_script_needs_no_files_and_a_missing_interpreter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box");
        for line in ["#!/bin/sh\n", "#! /usr/bin/env sh\n"] {
            fs::write(&path, line).unwrap();
            let (tree, subject) = pack(&path, Adapter::default()).unwrap();
            assert!(subject.links.is_empty(), "{:?}", subject.links);
            assert!(tree.0.contains_key(&b"usr/lib/grade/bin/box"[..]));
        }
        fs::write(&path, "#!/no/such/interpreter\n").unwrap();
        let error = pack(&path, Adapter::default()).unwrap_err().to_string();
        assert!(error.contains("/no/such/interpreter"), "{error}");
    }
}
