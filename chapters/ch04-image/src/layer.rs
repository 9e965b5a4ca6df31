//! The entries of a layer: what each entry means for the layers below it.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use anyhow::Result;
use ch02_union::is_whiteout;
use common::step::Step;
use rustix::fs::lgetxattr;

/// Recognizes the entries of a layer that hide files of the layers below it.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Whether the layer was written by aufs, which marks these entries in another way
    /// than overlayfs.
    pub aufs: bool,
    /// Whether the layer was written in a user namespace.
    pub user_namespace: bool,
}

/// The meaning of an entry of a layer.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A file or directory without a special meaning.
    File,
    /// A whiteout: it hides the file with this path in the layers below.
    Whiteout(PathBuf),
    /// A file that the driver needs for itself. It is not part of the layer's content.
    Nothing,
}

/// The prefix of a whiteout of aufs: `.wh.NAME` means that the file NAME was removed.
const AUFS: &str = ".wh.";
/// The prefix of the three files that aufs needs for itself.
const AUFS_OWN: &str = ".wh..wh.";

impl Reader {
    /// The extended attribute of an opaque directory. Such a directory hides the
    /// directory with the same path in the layers below.
    #[must_use]
    pub fn opaque(self) -> &'static str {
        if self.user_namespace {
            "user.overlay.opaque"
        } else {
            "trusted.overlay.opaque"
        }
    }

    /// Whether this directory is opaque.
    #[must_use]
    pub fn is_opaque(self, directory: &Path) -> bool {
        if self.aufs {
            return directory.join(".wh..wh..opq").exists();
        }
        let mut value = [0; 8];
        let found = lgetxattr(directory, self.opaque(), &mut value[..]);
        found.is_ok_and(|length| &value[..length] == b"y")
    }

    /// The meaning of this entry.
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

/// Find the first entry of this layer that hides files of the layers below it: a
/// whiteout or an opaque directory.
///
/// # Errors
/// readdir(3) or lstat(2) fails.
pub fn hides(layer: &Path) -> Result<Option<PathBuf>> {
    let step = || format!("readdir(3) {}", layer.display());
    for entry in fs::read_dir(layer).untraced(step)? {
        let path = entry.untraced(step)?.path();
        let about = fs::symlink_metadata(&path)
            .untraced(|| format!("lstat(2) {}", path.display()))?;
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
    fn whiteouts_and_internal_files_of_aufs_are_recognized() {
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
            // For overlayfs, these are ordinary names.
            assert_eq!(reader(false).meaning(&path, &about), Meaning::File);
        }
        assert!(reader(true).is_opaque(dir.path()));
        assert!(!reader(false).is_opaque(dir.path()));
    }
}
