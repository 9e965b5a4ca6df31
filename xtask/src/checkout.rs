//! The paths of the checkout and of its build directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Refuse a name that is not a chapter's, before something is built.
///
/// # Errors
/// There is no such chapter; a similar name is suggested.
pub fn expect_chapter(name: &str) -> Result<()> {
    let directory = root().join("chapters");
    if directory.join(name).join("Cargo.toml").is_file() {
        return Ok(());
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let distance = |known: &String| strsim::damerau_levenshtein(known, name);
    let near = names.iter().filter(|known| {
        distance(known) <= 2 || known.ends_with(&format!("-{name}"))
    });
    match near.min_by_key(|known| distance(known)) {
        Some(near) => bail!("chapter {name} not found: did you mean {near}?"),
        None => {
            bail!("chapter {name} not found: expected one of {}", names.join(", "))
        }
    }
}

/// The build directory.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => root().join(path),
        None => root().join("target"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_chapter_has_a_suggestion() {
        assert!(expect_chapter("ch02-uts").is_ok());
        for (name, near) in [
            ("ch02-utz", "did you mean ch02-uts?"),
            ("uts", "did you mean ch02-uts?"),
            ("volume", "did you mean ch04-volume?"),
            ("nothing", "expected one of ch01-fifty-lines, ch02-cgroups"),
        ] {
            let error = expect_chapter(name).unwrap_err().to_string();
            assert!(error.contains(near), "{error}");
        }
    }
}
