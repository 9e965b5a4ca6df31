//! The entries of a layer: what each of them means for the layers below.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use anyhow::Result;
use ch02_union::is_whiteout;
use common::step::Step;
use rustix::fs::lgetxattr;

/// Reads layers: what they say about those below them.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// aufs has other words for it than overlayfs.
    pub aufs: bool,
    /// Whether the layer was written in a user namespace.
    pub user_namespace: bool,
}

/// What an entry of a layer stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Itself.
    File,
    /// Below this layer there is nothing of this name.
    Whiteout(PathBuf),
    /// The driver's own book-keeping.
    Nothing,
}

/// aufs's words: `.wh.NAME` for a file that was removed, and three of its own.
const AUFS: &str = ".wh.";
const AUFS_OWN: &str = ".wh..wh.";

impl Reader {
    /// The attribute by which a directory hides what lies below it.
    #[must_use]
    pub fn opaque(self) -> &'static str {
        if self.user_namespace {
            "user.overlay.opaque"
        } else {
            "trusted.overlay.opaque"
        }
    }

    /// Whether this directory hides what lies below it.
    #[must_use]
    pub fn is_opaque(self, directory: &Path) -> bool {
        if self.aufs {
            return directory.join(".wh..wh..opq").exists();
        }
        let mut value = [0; 8];
        let found = lgetxattr(directory, self.opaque(), &mut value[..]);
        found.is_ok_and(|length| &value[..length] == b"y")
    }

    /// What this entry stands for.
    #[must_use]
    pub fn meaning(self, path: &Path, about: &Metadata) -> Meaning {
        if is_whiteout(about) {
            return Meaning::Whiteout(path.to_owned());
        }
        let name = path.file_name().and_then(|name| name.to_str());
        match name.and_then(|name| name.strip_prefix(AUFS)).filter(|_| self.aufs) {
            None => Meaning::File,
            Some(_) if name.is_some_and(|name| name.starts_with(AUFS_OWN)) => {
                Meaning::Nothing
            }
            Some(hidden) => Meaning::Whiteout(path.with_file_name(hidden)),
        }
    }
}

/// What in this layer of an image hides something of the layers below it: the first
/// whiteout or opaque directory.
///
/// # Errors
/// Those of readdir(3) and lstat(2).
pub fn hides(layer: &Path) -> Result<Option<PathBuf>> {
    let step = || format!("readdir(3) {}", layer.display());
    for entry in fs::read_dir(layer).look(step)? {
        let path = entry.look(step)?.path();
        let about = fs::symlink_metadata(&path)
            .look(|| format!("lstat(2) {}", path.display()))?;
        if is_whiteout(&about) {
            return Ok(Some(path));
        }
        if about.is_dir() {
            let reader = |user_namespace| Reader { aufs: false, user_namespace };
            if [true, false].iter().any(|user| reader(*user).is_opaque(&path)) {
                return Ok(Some(path));
            }
            if let Some(below) = hides(&path)? {
                return Ok(Some(below));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_aufs_are_told_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let reader = |aufs| Reader { aufs, user_namespace: true };
        for (name, meaning) in [
            ("a", Meaning::File),
            (".wh.a", Meaning::Whiteout(dir.path().join("a"))),
            (".wh..wh..opq", Meaning::Nothing),
            (".wh..wh.plnk", Meaning::Nothing),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            let about = fs::symlink_metadata(&path).unwrap();
            assert_eq!(reader(true).meaning(&path, &about), meaning);
            // In overlayfs these are names as any.
            assert_eq!(reader(false).meaning(&path, &about), Meaning::File);
        }
        assert!(reader(true).is_opaque(dir.path()));
        assert!(!reader(false).is_opaque(dir.path()));
    }
}
