//! Unpack the entries of an archive below one directory. Nothing outside this
//! directory is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, fchmodat, fstatat, makedev, mknodat,
};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::escape::{at, escaped};
use super::member::{self, Member, Members};
use super::metadata::{self, Keep, Stamp};
use super::sparse::Map;
use crate::cli::hints;
use crate::cli::slow;
use crate::cli::step::{Hint, Step};
use crate::guest::{GuestFile, GuestRoot, Kind};
use crate::process::rights;
use crate::state::remove_tree;

/// The number of bytes that are copied at once.
const BUFFER: usize = 64 << 10;

/// Unpack a package, or a tar that this program made. Times and extended attributes
/// are not kept, because the files are not archived again. Owners are kept only if
/// the caller has root's rights.
///
/// # Errors
/// The archive is damaged, truncated or ambiguous; a file cannot be created or
/// written.
pub fn unpack_file(archive: &Path, root: &Path) -> Result<()> {
    let file = File::open(archive).step(|| at("open(2)", archive))?;
    let keep =
        Keep { owners: rights::is_host_root()?, attributes: false, whiteouts: None };
    // Each section of an .apk ends with zeros, and the next one follows.
    let mut members = Members::new(io::BufReader::new(file), true);
    unpack(&mut members, root, keep)
}

/// Unpack an archive from an untrusted source. Its names and links cannot lead outside
/// `root`.
///
/// # Errors
/// The archive is damaged, truncated or ambiguous; it has a keyword or an entry type
/// that could change the files in an unknown way; an entry's name contains `..`; a file
/// cannot be created or written.
pub fn unpack_stream(archive: impl Read, root: &Path, keep: Keep) -> Result<()> {
    let mut members = Members::new(archive, false);
    unpack(&mut members, root, keep)?;
    members.drain()
}

fn unpack<R: Read>(members: &mut Members<R>, root: &Path, keep: Keep) -> Result<()> {
    let root = GuestRoot::open(root)?;
    // The caller's umask must not change the root directory's mode.
    let top = Directory { mode: 0o755, time: None };
    let directories = BTreeMap::from([(PathBuf::new(), top)]);
    let buffer = vec![0; BUFFER];
    let whiteouts = BTreeSet::new();
    let mut unpacker =
        Unpacker { root, keep, directories, whiteouts, parent: None, buffer };
    while let Some(member) = members.next()? {
        unpacker
            .member(&member, members)
            .with_context(|| format!("entry {}", escaped(&member.path)))?;
    }
    unpacker.finish()
}

/// The properties that a directory gets at the end.
struct Directory {
    mode: u32,
    time: Option<Stamp>,
}

pub(super) struct Unpacker {
    pub(super) root: GuestRoot,
    pub(super) keep: Keep,
    /// The modes of directories are set at the end, the deepest directory first: a
    /// read-only directory must be filled before.
    directories: BTreeMap<PathBuf, Directory>,
    /// The files of lower layers that this layer removes.
    pub(super) whiteouts: BTreeSet<PathBuf>,
    /// The directory of the previous file. Most files are in the same directory as
    /// the file before them.
    parent: Option<(PathBuf, Rc<GuestFile>)>,
    buffer: Vec<u8>,
}

impl Unpacker {
    fn member(&mut self, member: &Member, data: &mut impl Read) -> Result<()> {
        let path = inside(&member.path)?;
        if self.is_whiteout(member, &path)? {
            return Ok(());
        }
        if member.kind == member::Kind::Directory {
            return self.directory(member, path);
        }
        let Some(name) = path.file_name() else {
            bail!("only a directory can be the root of the archive");
        };
        let parent = self.parent(&path)?;
        match member.kind {
            member::Kind::File => {
                let mut file = self.create(&parent, &path)?;
                self.content(&mut file, member.map.as_ref(), data, &path)?;
                return metadata::set_all(member, self.keep, &file, &path);
            }
            member::Kind::Symlink => {
                if member.link.as_os_str().is_empty() {
                    bail!("a symlink without a target");
                }
                self.replace(&parent, &path)?;
                symlinkat(&member.link, &*parent, name)
                    .step(|| at("symlink(2)", &path))?;
            }
            member::Kind::HardLink => return self.link(member, &parent, &path),
            _ => {
                let is_device = member.kind != member::Kind::Fifo;
                // A container has its own /dev. A user without root's rights cannot
                // create devices.
                if is_device && !self.keep.owners {
                    return Ok(());
                }
                self.replace(&parent, &path)?;
                node(member, &parent, &path)?;
                metadata::set_owner(member, self.keep, &parent, &path)?;
                // mknod(2) applies the caller's umask, and chown(2) clears bits.
                let mode = Mode::from_bits_truncate(member.mode);
                fchmodat(&*parent, name, mode, FchmodatFlags::FollowSymlink)
                    .step(|| at("chmod(2)", &path))?;
                return metadata::set_time(member, self.keep, &parent, &path);
            }
        }
        metadata::set_owner(member, self.keep, &parent, &path)?;
        metadata::set_time(member, self.keep, &parent, &path)
    }

    // ANCHOR: content
    /// Write a file's data. Where a sparse file's map has no region, nothing is written,
    /// and so the new file has a hole there.
    fn content(
        &mut self,
        file: &mut File,
        map: Option<&Map>,
        data: &mut impl Read,
        path: &Path,
    ) -> Result<()> {
        let Some(map) = map else {
            return self.copy(data, file, path);
        };
        for region in &map.regions {
            file.seek(SeekFrom::Start(region.offset))
                .step(|| at("lseek(2)", path))?;
            self.copy(&mut data.take(region.length), file, path)?;
        }
        file.set_len(map.size).step(|| at("ftruncate(2)", path))
    }
    // ANCHOR_END: content

    fn copy(
        &mut self,
        data: &mut impl Read,
        file: &mut File,
        path: &Path,
    ) -> Result<()> {
        loop {
            let count = match data.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count.untraced(|| "read(2) the archive")?,
            };
            if count == 0 {
                return Ok(());
            }
            file.write_all(&self.buffer[..count])
                .step(|| at("write(2)", path))
                .hint(hints::state)?;
            slow::count(count as u64);
        }
    }

    fn link(
        &mut self,
        member: &Member,
        parent: &GuestFile,
        path: &Path,
    ) -> Result<()> {
        let target = inside(&member.link)?;
        let name = path.file_name().context("no name")?;
        // For the second FILE, `tar -c FILE FILE` writes a hard link from FILE to
        // itself. FILE must not be removed to make this link.
        if target == path {
            fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .untraced(|| at("lstat(2)", path))?;
            return Ok(());
        }
        let above = target.parent().unwrap_or(Path::new(""));
        let above = self.root.find(above)?;
        let above = above.context("the target of the hard link is not found")?;
        let old = target.file_name().context("a hard link to a directory")?;
        self.replace(parent, path)?;
        linkat(&above, old, parent, name, LinkatFlags::empty())
            .step(|| format!("{} to {}", at("link(2)", &target), escaped(path)))
    }

    fn directory(&mut self, member: &Member, path: PathBuf) -> Result<()> {
        if path.file_name().is_some() {
            let parent = self.parent(&path)?;
            let place = self.make_directory(&parent, &path)?;
            metadata::set_owner(member, self.keep, &parent, &path)?;
            metadata::set_attributes(member, self.keep, &place.path(), &path)?;
        }
        let time = self.keep.attributes.then_some(member.time);
        self.directories.insert(path, Directory { mode: member.mode, time });
        Ok(())
    }

    /// Every parent is looked up inside the root, so a symlink that an earlier entry
    /// created cannot lead out of the root. The last name is never followed.
    pub(super) fn parent(&mut self, path: &Path) -> Result<Rc<GuestFile>> {
        let above = path.parent().unwrap_or(Path::new(""));
        if let Some((known, place)) = &self.parent
            && known == above
        {
            return Ok(Rc::clone(place));
        }
        let place = Rc::new(self.root.make(above, Kind::Directory)?);
        self.parent = Some((above.to_owned(), Rc::clone(&place)));
        Ok(place)
    }

    // ANCHOR: replace
    /// Remove the file that an earlier entry created under this name. A directory is
    /// removed with all its content.
    pub(super) fn replace(&mut self, parent: &GuestFile, path: &Path) -> Result<()> {
        let name = path.file_name().context("no name")?;
        match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR) => remove_tree(&parent.path().join(name))?,
            removed => removed.step(|| at("unlink(2)", path))?,
        }
        // The removed file may have been a symlink in the path of the known parent.
        self.parent = None;
        // The removed directories must get no mode and no time at the end.
        let below = self.directories.range(path.to_owned()..);
        let below = below.take_while(|(known, _)| known.starts_with(path));
        let gone: Vec<PathBuf> = below.map(|(known, _)| known.clone()).collect();
        for known in &gone {
            self.directories.remove(known);
        }
        self.whiteouts.retain(|known| !known.starts_with(path));
        Ok(())
    }
    // ANCHOR_END: replace

    /// An existing directory stays, with all its content. Any other file is
    /// replaced, even a symlink to a directory.
    pub(super) fn make_directory(
        &mut self,
        parent: &GuestFile,
        path: &Path,
    ) -> Result<GuestFile> {
        let name = path.file_name().context("no name")?;
        match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return parent.make(path, Kind::Directory),
            Ok(about)
                if about.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() =>
            {
                let found = self.root.find(path)?;
                return found.with_context(|| at("the directory", path));
            }
            about => drop(about.untraced(|| at("lstat(2)", path))?),
        }
        self.replace(parent, path)?;
        parent.make(path, Kind::Directory)
    }

    fn create(&mut self, parent: &GuestFile, path: &Path) -> Result<File> {
        let name = path.file_name().context("no name")?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || openat(parent, name, flags, Mode::from_bits_truncate(0o600));
        let opened = match open() {
            Err(Errno::EEXIST) => {
                self.replace(parent, path)?;
                open()
            }
            opened => opened,
        };
        Ok(File::from(opened.step(|| at("open(2)", path)).hint(hints::state)?))
    }

    fn finish(self) -> Result<()> {
        for (path, Directory { mode, time }) in self.directories.into_iter().rev() {
            // A later entry may have replaced the directory by something else.
            let place = self.root.find(&path)?;
            let Some(place) = place.filter(|p| p.is_directory().is_ok_and(|is| is))
            else {
                continue;
            };
            fs::set_permissions(place.path(), Permissions::from_mode(mode))
                .step(|| at("chmod(2)", &path))?;
            if let Some(time) = time {
                metadata::set_directory_time(&place, time, &path)?;
            }
        }
        Ok(())
    }
}

/// Create a device or a fifo.
fn node(member: &Member, parent: &GuestFile, path: &Path) -> Result<()> {
    let kind = match member.kind {
        member::Kind::Character => SFlag::S_IFCHR,
        member::Kind::Block => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    let (major, minor) = member.device;
    let name = path.file_name().context("no name")?;
    let mode = Mode::from_bits_truncate(member.mode);
    mknodat(parent, name, kind, mode, makedev(major, minor))
        .step(|| at("mknod(2)", path))
}

/// The path below the root. A name with `..` is refused.
fn inside(path: &Path) -> Result<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                bail!(
                    "the name contains \"..\", which could lead out of the image: this \
                     archive is not trustworthy"
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
    use tar::{Builder, EntryType, Header};

    use super::*;

    /// A tar of (name, kind, content or link, mode).
    fn archive(dir: &Path, entries: &[(&str, EntryType, &str, u32)]) -> PathBuf {
        let path = dir.join("test.tar");
        let mut builder = Builder::new(File::create(&path).unwrap());
        for &(name, kind, text, mode) in entries {
            let mut header = Header::new_gnu();
            // The bytes are copied: the library's setter refuses "..".
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

    /// All paths below a directory, without following links, each with its mode, its
    /// link count and the content of a file.
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

    /// Remove a root, whatever the modes of its directories are.
    fn remove(dir: &Path) {
        crate::state::remove_tree(dir).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 300,
            ..ProptestConfig::default()
        })]

        #[test]
        fn no_names_or_links_change_files_outside_the_root(
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
            // A link may also contain the absolute path of the outside directory.
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
            let done = unpack_file(&tar, &root);
            prop_assert_eq!(all(&out), before, "{:?}", done);
            let mut beside: Vec<_> = fs::read_dir(dir.path()).unwrap()
                .map(|e| e.unwrap().file_name()).collect();
            beside.sort();
            prop_assert_eq!(beside, ["out", "root", "test.tar"]);
            let leaves = entries.iter().any(|(name, ..)| name.split('/').any(|n| n == ".."));
            prop_assert!(!(leaves && done.is_ok()), "{:?}", entries);
            remove(&root);
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
            let _ = unpack_file(&tar, &root);
            prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
            remove(&root);
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
        unpack_file(&tar, &root).unwrap();
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
    fn a_read_only_directory_gets_its_mode_after_its_files() {
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
        unpack_file(&tar, &root).unwrap();
        for (name, mode) in [("", 0o755), ("usr", 0o555), ("usr/bin", 0o555)] {
            let found = root.join(name).metadata().unwrap().mode() & 0o7777;
            assert_eq!(found, mode, "/{name}");
        }
        assert!(root.join("usr/bin/x").is_file());
        // tempfile could not remove it as an ordinary user.
        crate::state::remove_tree(&root).unwrap();
    }

    #[test]
    fn a_name_with_dots_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let tar =
            archive(dir.path(), &[("../evil", EntryType::Regular, "x", 0o644)]);
        let error = unpack_file(&tar, &root).unwrap_err();
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
        unpack_file(&tar, &root).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "new");
    }

    #[test]
    fn a_later_entry_replaces_an_earlier_one_of_another_type() {
        use EntryType::{Directory, Fifo, Link, Regular, Symlink};
        let first = [
            ("x", Regular, "old", 0o644),
            ("x", Symlink, "real", 0o777),
            ("x", Symlink, "nowhere", 0o777),
            ("x/", Directory, "", 0o700),
            ("x", Fifo, "", 0o600),
            ("x", Link, "real/f", 0o644),
        ];
        let second = [
            ("x", Regular, "new", 0o644),
            ("x", Symlink, "other", 0o777),
            ("x/", Directory, "", 0o711),
            ("x", Fifo, "", 0o600),
            ("x", Link, "real/f", 0o644),
        ];
        for old in first {
            for new in second {
                let mut entries = vec![
                    ("real/", Directory, "", 0o755),
                    ("real/f", Regular, "f", 0o644),
                    old,
                ];
                if old.1 == Directory {
                    entries.push(("x/d/", Directory, "", 0o555));
                    entries.push(("x/d/f", Regular, "old", 0o644));
                }
                entries.push(new);
                let dir = tempfile::tempdir().unwrap();
                let root = dir.path().join("root");
                fs::create_dir(&root).unwrap();
                let case = format!("{old:?}, then {new:?}");
                unpack_file(&archive(dir.path(), &entries), &root).expect(&case);
                let x = root.join("x");
                let about = x.symlink_metadata().unwrap();
                let mode = about.mode() & 0o7777;
                match new.1 {
                    Regular => assert_eq!(fs::read(&x).unwrap(), b"new", "{case}"),
                    Symlink => {
                        assert_eq!(fs::read_link(&x).unwrap(), Path::new("other"));
                    }
                    Directory => {
                        assert!(about.is_dir() && mode == 0o711, "{case}: {mode:o}");
                        let kept = old.1 == Directory;
                        assert_eq!(x.join("d/f").exists(), kept, "{case}");
                    }
                    Fifo => assert!(about.file_type().is_fifo(), "{case}"),
                    _ => assert_eq!(fs::read(&x).unwrap(), b"f", "{case}"),
                }
                // The target of a symlink must not change.
                let real = root.join("real");
                assert_eq!(
                    real.metadata().unwrap().mode() & 0o7777,
                    0o755,
                    "{case}"
                );
                assert_eq!(fs::read(real.join("f")).unwrap(), b"f", "{case}");
                remove(&root);
            }
        }
    }

    #[test]
    fn a_replaced_directory_does_not_pass_on_its_mode() {
        use EntryType::{Directory, Regular, Symlink};
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let tar = archive(
            dir.path(),
            &[
                ("x/", Directory, "", 0o700),
                ("x/d/", Directory, "", 0o700),
                ("real/d/", Directory, "", 0o755),
                ("x", Symlink, "real", 0o777),
                ("x/f", Regular, "f", 0o644),
            ],
        );
        unpack_file(&tar, &root).unwrap();
        for name in ["real", "real/d"] {
            let mode = root.join(name).metadata().unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o755, "{name} has the mode of what x was");
        }
        assert_eq!(fs::read(root.join("real/f")).unwrap(), b"f");
    }
}
