//! A tar that nobody vouches for, unpacked.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use nix::unistd::{
    Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat,
};
use tar::{Archive, Entry, EntryType};

use super::at;
use crate::guest::{GuestRoot, Kind, Place};
use crate::hints;
use crate::rights;
use crate::step::{Hint, Step};

/// Unpack a tar that nobody vouches for: whatever its names and links say, nothing
/// outside `root` is touched.
///
/// Owners are kept for who may give files away, device nodes for who may make them.
/// Extended attributes are not: an overlay would obey some of them.
pub(super) fn unpack(tar: &Path, root: &Path) -> Result<()> {
    let file = File::open(tar).step(|| at("open(2)", tar))?;
    let mut archive = Archive::new(io::BufReader::new(file));
    // An .apk ends each of its sections with zeros, and goes on.
    archive.set_ignore_zeros(true);
    let root = GuestRoot::open(root)?;
    // Directories get their modes at the end, the deepest first: one that is not to
    // be written has first to be filled. The caller's umask has no say.
    let mut modes = BTreeMap::from([(PathBuf::new(), 0o755)]);
    for entry in archive.entries().context("not a tar")? {
        let mut entry = entry.context("not a whole tar")?;
        let path = entry.path().context("a name that is none")?.into_owned();
        unpack_entry(&mut entry, &path, &root, &mut modes)
            .with_context(|| format!("entry {}", path.display()))?;
    }
    for (path, mode) in modes.into_iter().rev() {
        // A later entry may have put something else in its place.
        if let Some(place) =
            root.find(&path)?.filter(|p| p.is_directory().is_ok_and(|is| is))
        {
            fs::set_permissions(place.path(), Permissions::from_mode(mode))
                .step(|| at("chmod(2)", &path))?;
        }
    }
    Ok(())
}

fn unpack_entry<R: io::Read>(
    entry: &mut Entry<R>,
    path: &Path,
    root: &GuestRoot,
    modes: &mut BTreeMap<PathBuf, u32>,
) -> Result<()> {
    let path = inside(path)?;
    let kind = entry.header().entry_type();
    let mode = Mode::from_bits_truncate(entry.header().mode()? & 0o7777);
    let Some(name) = path.file_name() else {
        if kind == EntryType::Directory {
            modes.insert(path, mode.bits());
        }
        return Ok(());
    };
    // Every parent is looked up inside the root, so a symlink that an earlier entry
    // made leads nowhere else; the last name is never followed.
    let parent =
        root.make(path.parent().unwrap_or(Path::new("")), Kind::Directory)?;
    if kind == EntryType::Directory {
        root.make(&path, Kind::Directory)?;
        own(entry, &parent, &path)?;
        modes.insert(path, mode.bits());
        return Ok(());
    }
    // Later entries replace earlier ones.
    let _ = unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir);
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
            let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file = openat(&parent, name, flags, Mode::from_bits_truncate(0o600))
                .step(|| at("open(2)", &path))?;
            let mut file = File::from(file);
            io::copy(entry, &mut file)
                .step(|| at("write(2)", &path))
                .hint(hints::state)?;
            own(entry, &parent, &path)?;
            // After chown(2), which clears the setuid bit.
            file.set_permissions(Permissions::from_mode(mode.bits()))
                .step(|| at("chmod(2)", &path))?;
            return Ok(());
        }
        EntryType::Symlink => {
            let target = entry.link_name()?.context("a symlink to nothing")?;
            symlinkat(&*target, &parent, name).step(|| at("symlink(2)", &path))?;
        }
        EntryType::Link => {
            let target = entry.link_name()?.context("a link to nothing")?;
            let target = inside(&target)?;
            let above = target.parent().unwrap_or(Path::new(""));
            let above = root.find(above)?.context("a link to what is not there")?;
            let old = target.file_name().context("a link to a directory")?;
            linkat(&above, old, &parent, name, LinkatFlags::empty())
                .step(|| at("link(2)", &path))?;
            return Ok(());
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            let sort = match kind {
                EntryType::Char => SFlag::S_IFCHR,
                EntryType::Block => SFlag::S_IFBLK,
                _ => SFlag::S_IFIFO,
            };
            // A container has its own /dev; who can't make nodes does without.
            if sort != SFlag::S_IFIFO && !rights::privileged() {
                return Ok(());
            }
            // Archives of fifos often leave the numbers blank.
            let number = |field: io::Result<Option<u32>>| match sort {
                SFlag::S_IFIFO => Ok(0),
                _ => field.map(|number| u64::from(number.unwrap_or(0))),
            };
            let major = number(entry.header().device_major())?;
            let minor = number(entry.header().device_minor())?;
            mknodat(&parent, name, sort, mode, makedev(major, minor))
                .step(|| at("mknod(2)", &path))?;
        }
        // Headers for whole archives, and what this reader doesn't know.
        _ => return Ok(()),
    }
    own(entry, &parent, &path)
}

/// Give it to whom the tar says.
fn own<R: io::Read>(entry: &Entry<R>, parent: &Place, path: &Path) -> Result<()> {
    if !rights::privileged() {
        return Ok(());
    }
    let header = entry.header();
    let uid = Uid::from_raw(u32::try_from(header.uid()?)?);
    let gid = Gid::from_raw(u32::try_from(header.gid()?)?);
    let name = path.file_name().context("no name")?;
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
        .step(|| at("chown(2)", path))
}

/// The path below the root, or an error when it would leave it.
fn inside(path: &Path) -> Result<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                bail!(
                    "the name leaves the archive by \"..\": this tar can't be trusted"
                )
            }
        }
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use tar::{Builder, Header};

    use super::*;

    /// A tar of (name, kind, content or link, mode).
    fn archive(dir: &Path, entries: &[(&str, EntryType, &str, u32)]) -> PathBuf {
        let path = dir.join("test.tar");
        let mut builder = Builder::new(File::create(&path).unwrap());
        for &(name, kind, text, mode) in entries {
            let mut header = Header::new_gnu();
            // The bytes as they are: the library's own setter refuses "..".
            let raw = header.as_gnu_mut().unwrap();
            raw.name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(nix::unistd::getuid().as_raw().into());
            header.set_gid(nix::unistd::getgid().as_raw().into());
            let is_file = kind == EntryType::Regular;
            if !is_file && !text.is_empty() {
                let raw = header.as_gnu_mut().unwrap();
                raw.linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            let data = if is_file { text } else { "" };
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
        builder.finish().unwrap();
        path
    }

    /// Every path below, links not followed, with what a file holds.
    fn all(dir: &Path) -> Vec<(PathBuf, String)> {
        let (mut found, mut todo) = (Vec::new(), vec![dir.to_owned()]);
        while let Some(path) = todo.pop() {
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
            let text = match meta.is_file() {
                true => fs::read_to_string(&path).unwrap(),
                false => String::new(),
            };
            found.push((path, format!("{:o} {} {text}", meta.mode(), meta.nlink())));
        }
        found.sort();
        found
    }

    /// Whatever root is left of it, however it is closed.
    fn gone(dir: &Path) {
        crate::home::remove_tree(dir).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 300,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn whatever_names_and_links_there_are_nothing_outside_is_touched(
            entries in vec((
                vec(prop::sample::select(vec!["a", "b", "c", "..", ".", ""]), 1..4),
                prop::sample::select(vec![
                    EntryType::Regular, EntryType::Directory, EntryType::Symlink,
                    EntryType::Link, EntryType::Fifo, EntryType::Symlink,
                ]),
                vec(prop::sample::select(vec!["a", "b", "..", "", "out", "OUT"]), 1..4),
                prop::sample::select(vec![0o755, 0o644, 0o4755, 0o000]),
            ), 0..10)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("out");
            for name in ["a", "b", "c"] {
                fs::create_dir_all(&out).unwrap();
                fs::write(out.join(name), name).unwrap();
            }
            let root = dir.path().join("root");
            fs::create_dir(&root).unwrap();
            // The absolute path of what is outside, too.
            let long = out.to_str().unwrap();
            let texts: Vec<_> = entries.iter().map(|(name, kind, text, mode)| {
                let text = text.join("/").replace("OUT", long);
                (name.join("/"), *kind, text, *mode)
            }).collect();
            let entries: Vec<_> = texts.iter()
                .map(|(name, kind, text, mode)| (name.as_str(), *kind, text.as_str(), *mode))
                .collect();
            let tar = archive(dir.path(), &entries);
            let before = all(&out);
            let done = unpack(&tar, &root);
            prop_assert_eq!(all(&out), before, "{:?}", done);
            let mut beside: Vec<_> = fs::read_dir(dir.path()).unwrap()
                .map(|e| e.unwrap().file_name()).collect();
            beside.sort();
            prop_assert_eq!(beside, ["out", "root", "test.tar"]);
            let leaves = entries.iter().any(|(name, ..)| name.split('/').any(|n| n == ".."));
            prop_assert!(!(leaves && done.is_ok()), "{:?}", entries);
            gone(&root);
        }

        #[test]
        fn damaged_archives_are_errors(
            damage in vec((0..2048_usize, any::<u8>()), 1..8),
            length in 0..2048_usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("root");
            fs::create_dir(&root).unwrap();
            let entries = [
                ("d/", EntryType::Directory, "", 0o755),
                ("d/f", EntryType::Regular, "text", 0o644),
            ];
            let tar = archive(dir.path(), &entries);
            let mut bytes = fs::read(&tar).unwrap();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            bytes.truncate(length.max(512));
            fs::write(&tar, bytes).unwrap();
            let _ = unpack(&tar, &root);
            prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
            gone(&root);
        }
    }

    #[test]
    fn names_and_links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        use EntryType::{Directory, Fifo, Regular, Symlink};
        let tar = archive(
            dir.path(),
            &[
                ("/etc/", Directory, "", 0o755),
                ("/etc/absolute", Regular, "x", 0o4755),
                ("out", Symlink, "../../..", 0o777),
                ("out/escaped", Regular, "x", 0o644),
                ("abs", Symlink, "/tmp", 0o777),
                ("abs/mydocker-test-escaped", Regular, "x", 0o644),
                ("pipe", Fifo, "", 0o600),
            ],
        );
        unpack(&tar, &root).unwrap();
        let meta = root.join("etc/absolute").metadata().unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o4755);
        assert!(root.join("escaped").is_file());
        assert!(!dir.path().join("escaped").exists());
        assert!(root.join("tmp/mydocker-test-escaped").is_file());
        assert!(!Path::new("/tmp/mydocker-test-escaped").exists());
        let pipe = root.join("pipe").metadata().unwrap();
        assert!(pipe.file_type().is_fifo());
    }

    #[test]
    fn a_directory_that_is_not_to_be_written_is_filled_first() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
        let tar = archive(
            dir.path(),
            &[
                ("usr/", EntryType::Directory, "", 0o555),
                ("usr/bin/", EntryType::Directory, "", 0o555),
                ("usr/bin/x", EntryType::Regular, "x", 0o755),
            ],
        );
        unpack(&tar, &root).unwrap();
        for (name, mode) in [("", 0o755), ("usr", 0o555), ("usr/bin", 0o555)] {
            let found = root.join(name).metadata().unwrap().mode() & 0o7777;
            assert_eq!(found, mode, "/{name}");
        }
        assert!(root.join("usr/bin/x").is_file());
        // tempfile could not remove it as an ordinary user.
        crate::home::remove_tree(&root).unwrap();
    }

    #[test]
    fn a_name_with_dots_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let tar =
            archive(dir.path(), &[("../evil", EntryType::Regular, "x", 0o644)]);
        let error = unpack(&tar, &root).unwrap_err();
        assert!(format!("{error:#}").contains("\"..\""), "{error:#}");
        assert!(!dir.path().join("evil").exists());
    }

    #[test]
    fn a_file_over_a_symlink_replaces_the_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let link = victim.to_str().unwrap();
        let tar = archive(
            dir.path(),
            &[
                ("f", EntryType::Symlink, link, 0o777),
                ("f", EntryType::Regular, "new", 0o644),
            ],
        );
        unpack(&tar, &root).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "new");
    }
}
