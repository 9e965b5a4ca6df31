//! Tests that pack and unpack layers.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, setxattr};
use tar::{Builder, EntryType, Header};

use super::*;

const OPAQUE: &str = OPAQUE_ATTRIBUTES[1];
const KEEP: Keep = Keep { owners: false, attributes: true, whiteouts: Some(OPAQUE) };

/// A tar of empty files; a name that ends with `/` is a directory.
fn tar(names: &[&str]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for name in names {
        let mut header = Header::new_gnu();
        let kind = match name.ends_with('/') {
            true => EntryType::Directory,
            false => EntryType::Regular,
        };
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Each file: `-NAME` is a whiteout, `NAME/` a directory, `NAME!/` an opaque one.
fn seen(root: &Path, at: &Path, into: &mut Vec<String>) {
    let entries = fs::read_dir(root.join(at)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let path = at.join(&name);
        let about = root.join(&path).symlink_metadata().unwrap();
        let shown = path.display();
        if about.is_dir() {
            let mut value = [0; 8];
            let opaque = lgetxattr(root.join(&path), OPAQUE, &mut value[..]).is_ok();
            into.push(format!("{shown}{}/", if opaque { "!" } else { "" }));
            seen(root, &path, into);
        } else if about.file_type().is_char_device() {
            assert_eq!(about.rdev(), 0);
            into.push(format!("-{shown}"));
        } else {
            into.push(shown.to_string());
        }
    }
}

fn unpacked(names: &[&str]) -> anyhow::Result<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    unpack_stream(&tar(names)[..], dir.path(), KEEP)?;
    let mut all = Vec::new();
    seen(dir.path(), Path::new(""), &mut all);
    Ok(all)
}

#[test]
fn entries_with_the_prefix_remove_files_of_the_layers_below() {
    for (names, expected) in [
        (&[".wh.a", "b"][..], &["-a", "b"][..]),
        (&["d/", "d/.wh.a"], &["d/", "-d/a"]),
        (&["d/", "d/.wh..wh..opq", "d/a"], &["d!/", "d/a"]),
        // A directory that is removed and created again, in either order.
        (&[".wh.d", "d/", "d/a"], &["d!/", "d/a"]),
        (&["d/", "d/a", ".wh.d"], &["d!/", "d/a"]),
        (&[".wh.d", "d/a"], &["d!/", "d/a"]),
        // A directory with whiteouts is replaced, and a whiteout is replaced.
        (&["d/", "d/.wh.a", "d"], &["d"]),
        (&["d/", "d/.wh.a", "d", "d/", "d/a"], &["d/", "d/a"]),
        (&[".wh.d", "d/.wh.a"], &["d!/", "-d/a"]),
        (&[".wh.a", "a"], &["a"]),
        (&["a", ".wh.a"], &["a"]),
        // An internal file of aufs.
        (&[".wh..wh.plnk", "a"], &["a"]),
    ] {
        assert_eq!(unpacked(names).unwrap(), expected, "{names:?}");
    }
}

#[test]
fn a_whiteout_never_leads_out_of_the_layer() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh...", "../.wh.a"] {
        let error = unpacked(&["d/", name]).unwrap_err();
        assert!(format!("{error:#}").contains("not trustworthy"), "{error:#}");
    }
}

#[test]
fn a_packed_layer_is_unpacked_to_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    fs::create_dir(&one).unwrap();
    let names = ["d/", "d/.wh..wh..opq", "d/a", "d/.wh.b", "e/", "e/.wh.c"];
    unpack_stream(&tar(&names)[..], &one, KEEP).unwrap();
    setxattr(one.join("d/a"), "user.kept", b"x", XattrFlags::empty()).unwrap();
    let pack = |directory: &Path| {
        let mut bytes = Vec::new();
        pack_layer(directory, &mut bytes).unwrap();
        bytes
    };
    let bytes = pack(&one);
    assert!(pack(&one) == bytes, "the second archive of a directory is different");
    fs::create_dir(&two).unwrap();
    unpack_stream(&bytes[..], &two, KEEP).unwrap();
    let all = |root: &Path| {
        let mut all = Vec::new();
        seen(root, Path::new(""), &mut all);
        all
    };
    assert_eq!(all(&two), ["d!/", "d/a", "-d/b", "e/", "-e/c"]);
    assert_eq!(all(&one), all(&two));
    assert!(pack(&two) == bytes, "unpacking changed the layer");
}

#[test]
fn a_file_that_a_layer_cannot_contain_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".wh.a"), "").unwrap();
    let error = pack_layer(dir.path(), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("cannot contain /.wh.a"), "{error}");
}
