//! Read the merged tree without a mount: read the layers from top to bottom.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::step::Step;
use nix::errno::Errno;

use ch04_commit::layer::is;
use ch04_image::layer::{Meaning, Reader};

/// A directory of one layer, and the reader for this layer.
pub(crate) type Level = (PathBuf, Reader);

/// One file of the merged tree.
struct MergedFile {
    about: Metadata,
    /// Its path. A directory has one path for each layer that contributes to it,
    /// topmost first.
    levels: Vec<Level>,
    /// Lower layers do not contribute to it.
    closed: bool,
}

// ANCHOR: walk
/// Visit every file of the merged tree of these layers, given topmost first. Each
/// directory is visited before its entries.
pub(crate) fn walk(
    levels: &[Level],
    at: &Path,
    visit: &mut impl FnMut(&Path, &Path, &Metadata) -> Result<()>,
) -> Result<()> {
    let mut all: BTreeMap<OsString, MergedFile> = BTreeMap::new();
    let mut hidden: BTreeSet<OsString> = BTreeSet::new();
    for (directory, reader) in levels {
        let hides = read(directory, *reader, &hidden, &mut all)?;
        hidden.extend(hides);
    }
    for (name, found) in all {
        let path = at.join(name);
        let Some((file, _)) = found.levels.first() else { continue };
        visit(&path, file, &found.about)?;
        if found.about.is_dir() {
            walk(&found.levels, &path, visit)?;
        }
    }
    Ok(())
}
// ANCHOR_END: walk

/// Add the entries of one layer's directory to `all`. Returns the names that this
/// layer hides in lower layers.
fn read(
    directory: &Path,
    reader: Reader,
    hidden: &BTreeSet<OsString>,
    all: &mut BTreeMap<OsString, MergedFile>,
) -> Result<Vec<OsString>> {
    let mut hides = Vec::new();
    let step = || format!("readdir(3) {}", directory.display());
    let entries = match fs::read_dir(directory).untraced(step) {
        // A process of the container that is not frozen may have removed the
        // directory.
        Err(e) if is(&e, Errno::ENOENT) => return Ok(hides),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry.untraced(step)?;
        let path = entry.path();
        let about = match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            about => about.untraced(|| format!("lstat(2) {}", path.display()))?,
        };
        let name = entry.file_name();
        match reader.meaning(&path, &about) {
            Meaning::Nothing => {}
            Meaning::Whiteout(of) => {
                hides.extend(of.file_name().map(|name| name.to_owned()));
            }
            Meaning::File if hidden.contains(&name) => {}
            Meaning::File => {
                let closed = !about.is_dir() || reader.is_opaque(&path);
                match all.get_mut(&name) {
                    None => {
                        let levels = vec![(path, reader)];
                        all.insert(name, MergedFile { about, levels, closed });
                    }
                    Some(found) if found.closed => {}
                    Some(found) if about.is_dir() => {
                        found.levels.push((path, reader));
                        found.closed = closed;
                    }
                    // A file in a lower layer hides directories below it.
                    Some(found) => found.closed = true,
                }
            }
        }
    }
    Ok(hides)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers of (path, content); a path that ends with `/` is a directory.
    fn seen(layers: &[&[&str]]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut levels = Vec::new();
        for (number, layer) in layers.iter().enumerate() {
            let root = dir.path().join(number.to_string());
            fs::create_dir(&root).unwrap();
            for path in *layer {
                let file = root.join(path);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                match path.ends_with('/') {
                    true => fs::create_dir_all(&file).unwrap(),
                    false => fs::write(&file, number.to_string()).unwrap(),
                }
            }
            // Use the markers of aufs: any user may create them.
            let reader = Reader { aufs: true, user_namespace: true };
            levels.push((root, reader));
        }
        let mut seen = Vec::new();
        walk(&levels, Path::new(""), &mut |path, file, about| {
            let text = match about.is_dir() {
                true => "/".to_owned(),
                false => format!("={}", fs::read_to_string(file).unwrap()),
            };
            seen.push(format!("{}{text}", path.display()));
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn upper_hides_lower_and_directories_merge() {
        let found = seen(&[&["a", "d/x"], &["a", "b", "d/y", "d/x"]]);
        assert_eq!(found, ["a=0", "b=1", "d/", "d/x=0", "d/y=1"]);
    }

    #[test]
    fn whiteouts_hide_only_lower_layers() {
        let found =
            seen(&[&["b"], &[".wh.a", ".wh.b", "c"], &["a", "b", "c", "d/"]]);
        assert_eq!(found, ["b=0", "c=1", "d/"]);
    }

    #[test]
    fn opaque_directories_and_files_hide_lower_directories() {
        let found = seen(&[&["d/x"], &["d/.wh..wh..opq", "d/y"], &["d/z"]]);
        assert_eq!(found, ["d/", "d/x=0", "d/y=1"]);
        let found = seen(&[&["d/x"], &["d"], &["d/z"]]);
        assert_eq!(found, ["d/", "d/x=0"]);
        let found = seen(&[&["d"], &["d/z"]]);
        assert_eq!(found, ["d=0"]);
    }
}
