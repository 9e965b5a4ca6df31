//! The loader and the libraries of programs that are not static.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use common::step::Step;
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader};

/// The paths of the files of this machine without which this program, or a program that
/// uses this library, does not start: its loader, its libraries, and the loader's cache.
/// Empty if the program is static.
///
/// # Errors
/// A library is not installed.
/// # Source
/// ld.so(8), "--list"
pub(crate) fn needed(path: &Path, bytes: &[u8]) -> Result<Vec<PathBuf>> {
    let Some(loader) = loader(bytes).map(PathBuf::from) else {
        return Ok(Vec::new());
    };
    let output = Command::new(&loader)
        .arg("--list")
        .arg(path)
        .output()
        .step(|| format!("execve(2) {}", loader.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{} --list {}: {}", loader.display(), path.display(), error.trim());
    }
    let mut found = vec![loader];
    for line in text.lines() {
        // NAME => PATH (ADDRESS), or PATH (ADDRESS).
        let (name, rest) =
            line.trim().split_once(" => ").unwrap_or(("", line.trim()));
        if rest.starts_with("not found") {
            bail!(
                "{} needs {name}, which is not installed on this machine",
                path.display()
            );
        }
        let library = rest.split(" (").next().unwrap_or_default();
        if library.starts_with('/') {
            found.push(library.into());
        }
    }
    // The loader finds libraries in unusual directories by its cache.
    let cache = Path::new("/etc/ld.so.cache");
    found.extend(cache.is_file().then(|| cache.to_owned()));
    Ok(found)
}

/// The loader of an ELF program, or of the programs that use a library.
fn loader(bytes: &[u8]) -> Option<String> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let mut is_dynamic = false;
    for segment in header.program_headers(endian, bytes).ok()? {
        if let Ok(Some(path)) = segment.interpreter(endian, bytes) {
            return Some(String::from_utf8_lossy(path).into_owned());
        }
        is_dynamic |= matches!(segment.dynamic(endian, bytes), Ok(Some(_)));
    }
    // A library names no loader: it uses that of the programs here. (A static
    // position-independent program is dynamic too, but needs no loader.)
    let is_library = is_dynamic && header.e_entry(endian) == 0;
    if !is_library {
        return None;
    }
    let own = fs::read("/proc/self/exe").ok()?;
    loader(&own)
}
